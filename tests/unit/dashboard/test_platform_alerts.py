"""What the dashboard makes of Alertmanager's answers, and of what is none."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dashboard.api.models_platform import PlatformAlerts
from dashboard.platform.alerts import PlatformAlertsReader
from ticklake.errors import StageError


class Alertmanager:
    """Answers with `body`, and counts how often it was asked."""

    def __init__(self) -> None:
        self.body: Any = []
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                text = outer.body if isinstance(outer.body, str) else json.dumps(outer.body)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def alertmanager() -> Iterator[Alertmanager]:
    found = Alertmanager()
    threading.Thread(target=found.server.serve_forever, daemon=True).start()
    yield found
    found.server.shutdown()
    found.server.server_close()


def alert(name: str, severity: str, at: str, **more: Any) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "severity": severity, "job": "ticklake-archive-ticks"},
        "annotations": {"summary": f"{name}!", "description": "what", "runbook_url": "https://example.com/#it"},
        "startsAt": at,
        "endsAt": at,
        "status": {"state": "active", "inhibitedBy": [], "silencedBy": []},
        **more,
    }


def test_the_worst_come_first_and_of_these_the_newest(alertmanager: Alertmanager) -> None:
    alertmanager.body = [
        alert("Lag", "warning", "2024-01-05T15:00:00.000Z"),
        alert("NoTicks", "critical", "2024-01-05T14:00:00.000Z"),
        alert("Late", "warning", "2024-01-05T15:30:00.000Z"),
        alert("Odd", "page", "2024-01-05T16:00:00.000Z"),
    ]
    reader = PlatformAlertsReader(alertmanager.address)
    found = PlatformAlerts.model_validate({"configured": reader.configured, "items": reader.read()})
    assert [item.name for item in found.items] == ["NoTicks", "Late", "Lag", "Odd"]
    worst = found.items[0]
    assert (worst.severity, worst.summary, worst.labels) == (
        "critical",
        "NoTicks!",
        {"job": "ticklake-archive-ticks"},
    )
    assert worst.since.isoformat() == "2024-01-05T14:00:00+00:00"
    reader.read()
    assert alertmanager.asked == ["/api/v2/alerts?active=true"], "many pages, one question"


def test_nobody_to_ask_is_no_error() -> None:
    reader = PlatformAlertsReader(None)
    assert not reader.configured
    assert reader.read() == []


@pytest.mark.parametrize("body", ["<html>hello</html>", {"status": "success"}])
def test_what_is_no_alertmanager_is_reported(alertmanager: Alertmanager, body: Any) -> None:
    alertmanager.body = body
    with pytest.raises(StageError, match="TICKLAKE_DASHBOARD_ALERTMANAGER"):
        PlatformAlertsReader(alertmanager.address).read()


def test_one_that_does_not_answer_is_reported(alertmanager: Alertmanager) -> None:
    alertmanager.server.shutdown()
    alertmanager.server.server_close()
    with pytest.raises(StageError, match=r"TICKLAKE_DASHBOARD_ALERTMANAGER.*refused"):
        PlatformAlertsReader(alertmanager.address).read()
