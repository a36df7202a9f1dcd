"""`medslip serve --checkpoint A`: a page on this machine that reads X-rays dropped on it. Not for clinical use.

Needs the extra [demo]. The page binds 127.0.0.1, asks no other host for anything and keeps no upload on disk. Ctrl-C
ends it, and so does SIGTERM, with exit code 0.
"""

import argparse
import contextlib
import importlib.util
import ipaddress
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_pipelines.images import ImagePolicy, add_image_flags, given_image
from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.demo_page.answers import Reader
from medslip_jax.errors import InputError
from medslip_jax.text.encoder import MAX_LENGTH, load_encoder
from medslip_jax.weights.loading import load

_CLOSE_SECONDS = 1  # that open pages are waited for: each holds a connection for as long as it is open


def main(argv: list[str]) -> int:
    """Runs the verb until SIGTERM (0) or Ctrl-C; `InputError` for bad flags, a taken port or without Gradio."""
    args = _parser().parse_args(argv)
    max_bytes = round(args.max_mb * 1e6)
    if max_bytes < 1:
        raise InputError(f"--max_mb {args.max_mb}: must be above 0")
    if importlib.util.find_spec("gradio") is None:
        raise InputError("serve needs Gradio: pip install 'medslip_jax[demo]'")
    # Before the model, whose reading takes longer than a look at the port.
    with contextlib.suppress(_Terminated), _terminable(), bind(args.host, args.port) as listener:
        pretrained = load(args.checkpoint, books=args.books)["pretrained"]
        provenance = pretrained.books.provenance if pretrained.books else {}
        length = provenance.get("max_length", MAX_LENGTH)
        encoder = load_encoder(args.encoder, max_length=length) if args.encoder else None
        reader = Reader(pretrained, encoder=encoder)
        # Compiles, so that the first visitor need not wait for it.
        reader.answer(np.zeros((64, 64), np.uint8), finding="Fluid." if encoder else "")
        policy = ImagePolicy(**given_image(args))
        _serve(reader, listener, source=Path(args.checkpoint).name, host=args.host, max_bytes=max_bytes, policy=policy)
    print("medslip serve: ended")
    return 0


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one.

    Raises:
      InputError: the port is taken, or the address is not one of this machine.
    """
    if not 0 <= port <= 65535:  # which the library would wrap around
        raise InputError(f"--port {port}: must be 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--host {host} --port {port}: cannot listen there ({reason}); give another --port") from error


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine reaches a socket."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def _serve(
    reader: Reader, listener: socket.socket, *, source: str, host: str, max_bytes: int, policy: ImagePolicy
) -> None:
    """Until a signal; the folder of uploads goes with it."""
    with tempfile.TemporaryDirectory(prefix="medslip_serve_", ignore_cleanup_errors=True) as folder:
        # Read when Gradio is imported.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
        import uvicorn

        from medslip_jax.demo_page import page as serve_page

        page = serve_page.build(reader, source=source, max_bytes=max_bytes, policy=policy)
        # Older releases of Starlette cut a Host header at its first colon and see "[" of "[::1]:7860".
        names = ["127.0.0.1", "localhost", host, f"[{host}]", "["]
        hosts = names if is_loopback(listener) else ["*"]
        config = uvicorn.Config(
            serve_page.application(page, max_bytes=max_bytes, hosts=hosts),
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_CLOSE_SECONDS,
        )
        if not is_loopback(listener):
            print(f"medslip: --host {host}: there is no login; everyone who reaches this machine can use the page")
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{listener.getsockname()[1]}  (Ctrl-C ends it). Not for clinical use.", flush=True)
        uvicorn.Server(config).run(sockets=[listener])


class _Terminated(BaseException):
    """SIGTERM has come."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds what is inside like Ctrl-C does, so that temporary folders are removed."""

    def terminate(number, frame) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("serve", "medslip serve --checkpoint runs/a --port 7860", description=__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="A", help="as of medslip convert --from: run, file, directory or hub id")
    add("--encoder", metavar="BERT", help="that wrote the text tables, for findings in your own words; as of books")
    add("--books", metavar="FILE.npz", help="text tables, where A has none")
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s); there is no login")
    add("--port", type=int, default=7860, help="0 for any free one (%(default)s)")
    add("--max_mb", type=float, default=20, help="largest file that is read, in 1e6 bytes (%(default)s)")
    add_image_flags(parser, names=("voi", "polarity", "sixteen_bit", "equalise"))
    return parser
