"""The Gradio page of `medslip serve`: components, what they call, and the web application around them.

The one file that knows Gradio, which is imported inside functions only (extra [demo]). The page's pictures are written
into it: what Gradio is given as a picture or a file it keeps on disk.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

from data_pipelines.images import ImagePolicy
from medslip_jax.demo_page import html as serve_html
from medslip_jax.demo_page.answers import Answer, Reader, finding_name
from medslip_jax.demo_page.uploads import Upload, read_upload
from medslip_jax.errors import InputError

# Where Gradio's own page would ask another host for something, the browser refuses.
_POLICY = (
    b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; frame-ancestors 'none'; "
    b"form-action 'self'; base-uri 'self'"
)
_FORGET_SECONDS = 1800
_LONGEST_FINDING = 500
# Of a file so many times too large Gradio stops the transfer, and its page says "Error" and no more; a smaller one
# arrives, is told of in words and deleted.
_ENDLESS = 10
_WITHOUT_ENCODER = "Start with --encoder (the BERT that wrote the model's text tables) to describe a finding yourself."


def build(reader: Reader, *, source: str, max_bytes: int, policy: ImagePolicy = ImagePolicy()):
    """The `gradio.Blocks` of a model, which the page calls `source`, for uploaded files of at most `max_bytes` that
    become grey as `policy` says."""
    import gradio as gr

    with gr.Blocks(
        title="MeDSLIP: not for clinical use", analytics_enabled=False, fill_width=True, delete_cache=(600, 600)
    ) as page:
        picture, answer = gr.State(time_to_live=_FORGET_SECONDS), gr.State(time_to_live=_FORGET_SECONDS)
        gr.HTML(serve_html.heading(source=source, kind=reader.kind))
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                label = f"PNG, JPEG or DICOM, up to {max_bytes / 1e6:g} MB"
                drop = gr.File(label=label, elem_id="drop", height=170)
                classes = gr.Dropdown(reader.names, value=[], multiselect=True, label="Classes to show")
                finding = _finding_box(gr, reader)
                button = gr.Button("Read the X-ray", variant="primary", elem_id="read")
                message = gr.HTML(elem_id="message")
            with gr.Column(scale=3, min_width=300):
                shown = gr.HTML(serve_html.EMPTY, elem_id="pictures")
                which = gr.Dropdown([], label="Heat map of", visible=False, interactive=True, elem_id="which")
                table = gr.HTML(elem_id="probabilities")
        # Private: the page has no API for other programs, `medslip predict` is that.
        calls = {"api_visibility": "private", "show_progress": "minimal"}
        upload = _on_upload(max_bytes, policy, gr)
        drop.upload(upload, [drop], [drop, picture, answer, shown, which, table, message], **calls)
        button.click(_on_read(reader, gr), [picture, classes, finding], [answer, shown, which, table, message], **calls)
        # `input` and not `change`: the choices that a reading sets are already drawn.
        which.input(_on_map, [picture, answer, which], [shown], **calls)
    return page


def _finding_box(gr, reader: Reader):
    hint = _WITHOUT_ENCODER if reader.kind == "medslip" else "Not with this model."
    return gr.Textbox(
        label="Or a finding in your own words",
        placeholder="Fluid in the pleural space." if reader.takes_findings else "",
        info=None if reader.takes_findings else hint,
        interactive=reader.takes_findings,
        max_length=_LONGEST_FINDING,
        elem_id="finding",
    )


def _on_upload(max_bytes: int, policy: ImagePolicy, gr) -> Callable:
    def upload(file: str):
        """The picture goes into the session's memory; the file goes."""
        picture, drawn = None, serve_html.EMPTY
        try:
            picture = read_upload(file, max_bytes=max_bytes, policy=policy)
            drawn, message = serve_html.pictures(picture.image, name=picture.name), serve_html.notes(picture.notes)
        except InputError as error:
            message = serve_html.error(str(error))
        finally:
            forget(file)
        return None, picture, None, drawn, gr.Dropdown(visible=False), "", message

    return upload


def _on_read(reader: Reader, gr) -> Callable:
    def read(picture: Upload | None, classes: list[str], finding: str | None):
        nothing = gr.Dropdown(visible=False)
        if picture is None:
            return None, serve_html.EMPTY, nothing, "", serve_html.error("No X-ray yet: drop one above.")
        try:
            answer = reader.answer(picture.image, finding=(finding or "")[:_LONGEST_FINDING])
        except InputError as error:
            return None, _on_map(picture, None, None), nothing, "", serve_html.error(str(error))
        names = serve_html.by_probability(answer, classes)
        first = names[0] if names else None
        table = serve_html.probabilities(answer, chosen=classes, kind=reader.kind)
        choice = gr.Dropdown(names, value=first, visible=bool(names))
        return answer, _on_map(picture, answer, first), choice, table, serve_html.notes(picture.notes)

    return read


def _on_map(picture: Upload | None, answer: Answer | None, name: str | None) -> str:
    if picture is None:
        return serve_html.EMPTY
    heat, title = None, ""
    if answer and name and name in answer.maps:
        heat, title = answer.maps[name], f"{name}: {_probability(answer, name):.3f}"
    return serve_html.pictures(picture.image, name=picture.name, heat=heat, title=title)


def _probability(answer: Answer, name: str) -> float | None:
    own = answer.finding and name == finding_name(answer.finding)
    return answer.finding_probability if own else answer.probabilities[name]


def forget(file: str | Path | None) -> None:
    """Removes an upload and the folder of its own that Gradio made for it."""
    if file:
        Path(file).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: the same bytes under another name
            Path(file).parent.rmdir()


def application(page, *, max_bytes: int, hosts: list[str]):
    """The page of `build` as an ASGI application that names no other host.

    Args:
      page, max_bytes: as of `build`.
      hosts: names that a browser may call this machine by; ["*"] for any.
    """
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        path="",
        theme=theme,
        css=serve_html.STYLE,
        footer_links=[],
        show_error=False,
        max_file_size=_ENDLESS * max_bytes,
        ssr_mode=False,
        run_history=False,
    )
    # A name of another site may be made to point here; its page must not read what this one shows.
    return TrustedHostMiddleware(_with_policy(app), allowed_hosts=hosts)


def _with_policy(app: Callable) -> Callable:
    async def answering(scope, receive, send) -> None:
        async def with_header(message) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message.get("headers", ()), (b"content-security-policy", _POLICY)]}
            await send(message)

        await app(scope, receive, with_header)

    return answering
