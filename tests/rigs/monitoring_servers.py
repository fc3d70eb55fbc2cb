"""A real Prometheus and a real Alertmanager with the platform's own rules, and a receiver of what they send."""

import json
import re
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from waiting import ENDS_SECONDS, wait_until

from ticklake_local.processes import LOOPBACK, free_port

RULES = Path(__file__).parents[2] / "charts" / "ticklake" / "files" / "rules"
SECONDS = {"30m": 2, "10m": 12, "15m": 12, "6h": 12, "5m": 8, "2m": 1, "1m": 1}
"""What minutes in the rules are here."""


def quick(text: str) -> str:
    """The rules with every range, offset and wait of minutes cut to seconds; what they ask stays the same."""
    short = {span: f"{seconds}s" for span, seconds in SECONDS.items()}
    text = re.sub(r"\[(\w+)\]", lambda found: f"[{short[found[1]]}]", text)
    return re.sub(r"(offset|for:) (\w+)", lambda found: f"{found[1]} {short[found[2]]}", text)


class Receiver:
    """Alertmanager's webhook: every alert's notices, in the order in which they came."""

    def __init__(self) -> None:
        notices: list[dict[str, Any]] = []
        self.notices = notices

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                notices.extend(json.loads(body)["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def states(self, name: str, **labels: str) -> list[str]:
        """What was reported of an alert, `firing` or `resolved`, oldest first."""
        return [
            each["status"]
            for each in list(self.notices)
            if each["labels"]["alertname"] == name and labels.items() <= each["labels"].items()
        ]

    def expect(self, state: str, name: str, **labels: str) -> None:
        """Wait until the latest notice of an alert is of this state; a failure prints all that was received."""
        wait_until(
            lambda: self.states(name, **labels)[-1:] == [state],
            lambda: (name, labels, state, [(each["status"], each["labels"]) for each in self.notices]),
        )


@contextmanager
def running_program(folder: Path, name: str, program: str, *arguments: str) -> Iterator[None]:
    """A program in `folder`, with its output in `name`.log there, while the block runs."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(ENDS_SECONDS)


class Monitoring:
    """Prometheus and Alertmanager, as processes."""

    def __init__(self, folder: Path, receiver: Receiver, found: Mapping[str, str]) -> None:
        self._folder, self._receiver, self._programs = folder, receiver, found
        self.address = f"{LOOPBACK}:{free_port()}"

    @contextmanager
    def running(self, targets: Mapping[str, int], thresholds: Mapping[str, float]) -> Iterator["Monitoring"]:
        """Both, while the block runs.

        Args:
            targets: port of each job.
            thresholds: in place of those in the rules' own file.
        """
        alerts = f"{LOOPBACK}:{free_port()}"
        self._write(targets, thresholds, alerts)
        with ExitStack() as stack:
            stack.enter_context(
                running_program(
                    self._folder,
                    "alertmanager",
                    self._programs["alertmanager"],
                    "--config.file=alertmanager.yml",
                    f"--web.listen-address={alerts}",
                    "--storage.path=am",
                    "--cluster.listen-address=",
                )
            )
            stack.enter_context(
                running_program(
                    self._folder,
                    "prometheus",
                    self._programs["prometheus"],
                    "--config.file=prometheus.yml",
                    f"--web.listen-address={self.address}",
                    "--storage.tsdb.path=tsdb",
                    "--rules.alert.resend-delay=1s",
                    "--log.level=warn",
                )
            )
            wait_until(lambda: _answers(f"http://{alerts}/-/ready"))
            wait_until(lambda: _answers(f"http://{self.address}/-/ready"))
            yield self

    def _write(self, targets: Mapping[str, int], thresholds: Mapping[str, float], alerts: str) -> None:
        rules = self._folder / "rules"
        rules.mkdir(parents=True)
        for path in RULES.glob("*.yaml"):
            (rules / path.name).write_text(quick(path.read_text()))
        known = yaml.safe_load((RULES / "thresholds.yaml").read_text())
        for rule in known["groups"][0]["rules"]:
            name = rule["record"].removeprefix("ticklake:threshold:")
            rule["expr"] = f"vector({thresholds[name]})" if name in thresholds else rule["expr"]
        (rules / "thresholds.yaml").write_text(yaml.safe_dump(known))
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules/*.yaml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alerts]}]}]},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"{LOOPBACK}:{port}"]}]}
                for job, port in targets.items()
            ],
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        route = {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "500ms"}
        hook = f"http://{LOOPBACK}:{self._receiver.server.server_port}/"
        (self._folder / "alertmanager.yml").write_text(
            yaml.safe_dump(
                {
                    "route": route,
                    "receivers": [{"name": "test", "webhook_configs": [{"url": hook, "send_resolved": True}]}],
                }
            )
        )

    def value(self, query: str) -> float | None:
        """The one value of an instant query; None where it has none."""
        address = f"http://{self.address}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(address, timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
        return float(result[0]["value"][1]) if result else None


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False
