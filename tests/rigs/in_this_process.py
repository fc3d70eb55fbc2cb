"""The program in a thread of this process, where a test can look into it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from waiting import ENDS_SECONDS, wait_until

from stream_analytics import service as program
from stream_analytics.query_progress import Metrics
from stream_analytics.query_runner import App
from stream_analytics.settings import StreamAnalyticsSettings
from stream_analytics.supervisor import Supervisor


class InThisProcess:
    """The program, as long as the `with` block lasts."""

    def __init__(self, settings: StreamAnalyticsSettings, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[Supervisor] = []

        class Seen(Supervisor):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                made.append(self)

        monkeypatch.setattr(program, "Supervisor", Seen)
        # The process may have run the program before.
        monkeypatch.setattr(program, "Metrics", lambda: Metrics(CollectorRegistry()))
        self._made, self._settings = made, settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: program.run(settings, self._stop), name="program")

    def __enter__(self) -> "InThisProcess":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(ENDS_SECONDS)

    def until(self, true: Callable[[], Any]) -> None:
        wait_until(true, alive=self._thread.is_alive, pause=0.05)

    @property
    def app(self) -> App | None:
        return self._made[0]._app if self._made else None

    def fail(self) -> None:
        """Let a query end, and wait until all were stopped."""
        app = self.app
        assert app is not None
        app._queries["closed"].stop()
        self.until(lambda: self.app is not app)

    @property
    def supervisor(self) -> Supervisor:
        return self._made[0]
