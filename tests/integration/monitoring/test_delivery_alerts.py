"""The alerts on market-alerts, on the metrics of the running service: they fire and clear."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from waiting import wait_until

from ticklake_local.processes import LOOPBACK, free_port

Environment = Callable[..., dict[str, str]]
RULES = """
rules:
  - {name: any-move, kind: change_percent, window: 5s, percent: 0.001, cooldown: 1s}
"""


class _Taker(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _hook(port: int) -> Iterator[None]:
    with ThreadingHTTPServer((LOOPBACK, port), _Taker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def test_a_receiver_is_away_and_a_rules_file_is_wrong(
    stage_env: Environment,
    tmp_path: Path,
    monitoring: Any,
    receiver: Any,
    services: Any,
) -> None:
    (rules := tmp_path / "any-move.yaml").write_text(RULES)
    hook = free_port()
    environment = stage_env(
        TICKLAKE_STREAM_SOURCE="simulated",
        TICKLAKE_STREAM_RATE="50",
        TICKLAKE_CALENDAR="24/7",
        TICKLAKE_ALERTS_RULES_FILE=str(rules),
        TICKLAKE_ALERTS_WEBHOOK_URL=f"http://{LOOPBACK}:{hook}/",
        TICKLAKE_ALERTS_RETRY_SECONDS="0.2",
        TICKLAKE_ALERTS_RETRY_CAP_SECONDS="1",
        TICKLAKE_ALERTS_GIVE_UP_SECONDS="3",
    )
    programs = ("market-alerts", "stream-ticks")
    with monitoring.running({f"ticklake-{name}": services.port(name) for name in programs}, {}) as prometheus:
        with _hook(hook):
            for name in programs:
                services.start(name, environment)
            delivered = "sum(ticklake_market_alerts_delivered_total)"
            wait_until(lambda: (prometheus.value(delivered) or 0) > 3, services.log.read_text)
            assert receiver.states("TicklakeAlertsNotDelivered") == []
        receiver.expect("firing", "TicklakeAlertsNotDelivered", target="webhook")
        with _hook(hook):
            receiver.expect("resolved", "TicklakeAlertsNotDelivered", target="webhook")

        assert receiver.states("TicklakeAlertRulesRejected") == []
        rules.write_text("rules: [{name: any-move}]")
        receiver.expect("firing", "TicklakeAlertRulesRejected")
        rules.write_text(RULES)
        receiver.expect("resolved", "TicklakeAlertRulesRejected")
