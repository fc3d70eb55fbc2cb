"""Serves the application until asked to stop."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Iterator

import uvicorn

from dashboard.app import make_app
from dashboard.live.hub import Hub
from dashboard.metrics import Metrics
from dashboard.service import Service
from dashboard.settings import DashboardSettings
from dashboard.static_files import StaticFiles
from ticklake import credentials, keys, logs
from ticklake.credentials import Rejected
from ticklake.errors import ConfigurationError
from ticklake.metrics import Health, served
from ticklake.service import Heartbeat

log = logs.get(__name__)

_CHECK_SECONDS = 0.2
_GRACE_SECONDS = 3
"""For answers under way at a stop."""
_STUCK_SECONDS = 60.0
_BACKLOG = 1024


class _Server(uvicorn.Server):
    """Leaves the signals to `service_main`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(settings: DashboardSettings, stop: threading.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        ConfigurationError: a port is in use, or a setting is wrong.
        CredentialsError: store or Kafka rejected the credentials for too long.
    """
    credentials.watched(
        settings,
        stop,
        lambda rejected: _run(settings, stop, rejected),
        store=settings.store,
        prefix=f"{keys.PROCESSED_DAILY}/",
        kafka=settings.kafka,
    )


def _run(settings: DashboardSettings, stop: threading.Event, rejected: Rejected) -> None:
    # Its lines on starting and stopping are printed beside ours and say less.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    service = Service(settings, Metrics())
    static, pulse = StaticFiles(), Heartbeat(_STUCK_SECONDS)
    with _listening(settings.dashboard.host, settings.dashboard.port) as listener:
        server = _make_server(settings, service, static)
        health = Health(alive=pulse.alive, ready=lambda: server.started and not stop.is_set(), rejected=rejected)
        with served(health, settings.metrics_port) as metrics_port:
            host, port = listener.getsockname()[:2]
            shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
            log.info(
                "serving",
                url=f"http://{shown}:{port}/",
                metrics_port=metrics_port,
                sign_in=settings.dashboard.user is not None,
                topic=settings.live.names.topic,
            )
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_serve(server, service, listener, pulse, stop))


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    try:
        import uvloop
    except ImportError:  # not on every system
        return None
    found: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return found


def _make_server(settings: DashboardSettings, service: Service, static: StaticFiles) -> _Server:
    return _Server(
        uvicorn.Config(
            make_app(service, static),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=True,
            forwarded_allow_ips=settings.dashboard.trusted_proxies,
            ws="none",
            timeout_graceful_shutdown=_GRACE_SECONDS,
            timeout_keep_alive=30,
        )
    )


async def _serve(
    server: _Server, service: Service, listener: socket.socket, pulse: Heartbeat, stop: threading.Event
) -> None:
    hub = service.start()
    fan_out = asyncio.create_task(hub.run())
    watch = asyncio.create_task(_watch(server, hub, pulse, stop))
    try:
        await server.serve(sockets=[listener])
    finally:
        stop.set()
        for task in (fan_out, watch):
            task.cancel()
        await asyncio.gather(fan_out, watch, return_exceptions=True)
        await asyncio.to_thread(service.stop)


async def _watch(server: _Server, hub: Hub, pulse: Heartbeat, stop: threading.Event) -> None:
    while not stop.is_set():
        pulse.beat()
        await asyncio.sleep(_CHECK_SECONDS)
    log.info("stopping", streams=hub.open_streams)
    hub.close()
    server.should_exit = True


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"TICKLAKE_DASHBOARD_HOST and _PORT: cannot listen on {host} port {port}: {error}"
        ) from error
    with listener:
        yield listener
