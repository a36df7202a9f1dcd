"""Serves the page of `medslip serve` on a socket of this machine, until a signal ends it."""

import contextlib
import importlib.util
import ipaddress
import os
import signal
import socket
import tempfile
from pathlib import Path

import numpy as np

from data_pipelines.images import ImagePolicy
from medslip_jax.demo_page.answers import Reader
from medslip_jax.errors import InputError
from medslip_jax.interrupts import handled
from medslip_jax.text.encoder import MAX_LENGTH, load_encoder
from medslip_jax.weights.loading import load

_CLOSE_SECONDS = 1  # that open pages are waited for: each holds a connection for as long as it is open


def serve(
    checkpoint: str | Path,
    *,
    books: str | Path | None = None,
    encoder: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    max_bytes: int = 20_000_000,
    policy: ImagePolicy = ImagePolicy(),
) -> None:
    """Shows the page at http://host:port until SIGTERM; Ctrl-C raises `KeyboardInterrupt` as ever.

    Args:
      checkpoint: as of `weights.load`: a run, a file, a directory or a hub id.
      books: text tables, where the checkpoint has none.
      encoder: BERT that wrote the text tables, for findings in the visitor's words; None leaves these out.
      host: address to listen on; there is no login.
      port: 0 for any free one.
      max_bytes: largest upload that is read.
      policy: how files become grey.

    Raises:
      InputError: a taken port, a foreign address, a model that cannot be read, or Gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError("serve needs Gradio: pip install 'medslip_jax[demo]'")
    # Before the model, whose reading takes longer than a look at the port.
    with contextlib.suppress(_Terminated), handled(signal.SIGTERM, by=_terminate), bind(host, port) as listener:
        pretrained = load(checkpoint, books=books)["pretrained"]
        provenance = pretrained.books.provenance if pretrained.books else {}
        bert = load_encoder(encoder, max_length=provenance.get("max_length", MAX_LENGTH)) if encoder else None
        reader = Reader(pretrained, encoder=bert)
        # Compiles, so that the first visitor need not wait for it.
        reader.answer(np.zeros((64, 64), np.uint8), finding="Fluid." if bert else "")
        _serve(reader, listener, source=Path(checkpoint).name, host=host, max_bytes=max_bytes, policy=policy)


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

        from medslip_jax.demo_page.page import application, build

        page = build(reader, source=source, max_bytes=max_bytes, policy=policy)
        # Older releases of Starlette cut a Host header at its first colon and see "[" of "[::1]:7860".
        names = ["127.0.0.1", "localhost", host, f"[{host}]", "["]
        hosts = names if is_loopback(listener) else ["*"]
        config = uvicorn.Config(
            application(page, max_bytes=max_bytes, hosts=hosts),
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


def _terminate(*_) -> None:
    """Unwinds like Ctrl-C does, so that temporary folders are removed."""
    raise _Terminated
