"""Prometheus metrics and health of long-running stages, on one small HTTP server: /metrics, /livez, /readyz."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

from ticklake.errors import ConfigurationError


class Health:
    """Whether a stage is alive and ready; both are asked at every probe.

    Args:
        alive: False means the process is stuck and should be restarted.
        ready: False means it cannot work just now, e.g. before the first assignment of partitions.
        rejected: why its credentials are rejected, which is not ready either; empty while they are not.
    """

    def __init__(
        self,
        alive: Callable[[], bool] = lambda: True,
        ready: Callable[[], bool] = lambda: True,
        rejected: Callable[[], str] = str,
    ) -> None:
        """Keep the questions."""
        self.alive, self.ready, self.rejected = alive, ready, rejected


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Probes come every few seconds and are not worth a log line each."""


@contextmanager
def served(
    health: Health,
    port: int,
    *,
    host: str = "",
    registry: CollectorRegistry = REGISTRY,
    pages: Mapping[str, Callable[[], bytes]] | None = None,
) -> Iterator[int]:
    """Serve metrics and health in the background while the block runs; yields the port.

    Args:
        port: 0 picks a free one.
        host: the address to listen on; the empty one is all of them, as a probe needs.
        pages: further pages of JSON by path, built at each request.

    Raises:
        ConfigurationError: the port is in use.
    """
    metrics_app = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        if path in ("/livez", "/readyz"):
            reason = "" if path == "/livez" else health.rejected()
            good = health.alive() if path == "/livez" else not reason and health.ready()
            start_response("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"ok\n" if good else f"{reason or 'no'}\n".encode()]
        if path == "/metrics":
            return metrics_app(environ, start_response)
        if pages is not None and path in pages:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [pages[path]()]
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics /livez /readyz\n"]

    try:
        server = make_server(host, port, app, server_class=_Server, handler_class=_QuietHandler)
    except OSError as error:
        raise ConfigurationError(f"TICKLAKE_METRICS_PORT: port {port} is in use: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
