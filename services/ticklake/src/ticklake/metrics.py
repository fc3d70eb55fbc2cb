"""Prometheus metrics and health of long-running stages, on one small HTTP server: /metrics, /livez, /readyz."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from ticklake.errors import ConfigurationError


class Instruments:
    """Makes a program's instruments.

    Args:
        program: the prefix of their names, `ticklake_<program>_`, with `_` in place of `-`.
        registry: where they are registered.
    """

    def __init__(self, program: str, registry: CollectorRegistry = REGISTRY) -> None:
        self._prefix, self._registry = f"ticklake_{program.replace('-', '_')}_", registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A counter."""
        return Counter(self._prefix + name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A gauge."""
        return Gauge(self._prefix + name, text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        """A histogram with these upper bounds, in seconds."""
        return Histogram(self._prefix + name, text, labels, buckets=buckets, registry=self._registry)


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
