"""The page on a port of its own, from a thread of its own.

The host's event loop may be busy, or end and begin anew: the page does not mind.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any, Self

import attrs

from luminal.errors import MissingExtraError
from luminal.web.app import create_app
from luminal.web.guard import is_loopback

if TYPE_CHECKING:
    from types import TracebackType

    from luminal.managers import Loader

__all__ = ["Served", "serve"]

_PATIENCE = 5.0
"""Seconds that `Served.stop` waits for the page's thread."""


@attrs.define(eq=False)
class Served:
    """A page that is served; as a context manager, until the end of the block.

    Attributes:
        url: Where it is.
    """

    url: str
    _server: Any = attrs.field(repr=False)
    _thread: threading.Thread = attrs.field(repr=False)

    def stop(self) -> None:
        """Serve it no more; who listens is let go."""
        self._server.should_exit = True
        self._thread.join(_PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def serve(loader: Loader, host: str = "127.0.0.1", port: int = 8421) -> Served:
    """Serve the page of *loader*'s host, and return at once.

    Args:
        loader: The host.
        host: A loopback address, or ``localhost``.
        port: The port; 0 for any that is free.

    Raises:
        ValueError: *host* is not loopback: the page is for this machine only.
        OSError: The port is taken.
        MissingExtraError: Starlette or uvicorn is not installed.
    """
    if not is_loopback(host):
        raise ValueError(f"not a loopback address: {host!r}")
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError(
            "the page needs uvicorn",
            why=str(error),
            hint="install it: pip install 'luminal-photons[web]'",
        ) from error
    server: uvicorn.Server
    config = uvicorn.Config(
        create_app(loader, lambda: server.should_exit),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        # Headers must not make a stranger look like this machine.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    listener = _listen(host, port)
    thread = threading.Thread(
        target=server.run, args=([listener],), name="luminal-web", daemon=True
    )
    thread.start()
    name = f"[{host}]" if ":" in host else host
    return Served(f"http://{name}:{listener.getsockname()[1]}/", server, thread)


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that queues connections from now on."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno is None:
            raise
        text = f"{error.strerror}: port {port} of {host}; port 0 is any that is free"
        raise OSError(error.errno, text) from error
    return listener
