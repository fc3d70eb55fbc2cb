"""Receivers of alerts on this machine, and the service as a process."""

import json
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from kafka import TopicPartition
from waiting import ENDS_SECONDS, wait_until

from ticklake import kafka
from ticklake.alerts import Alert
from ticklake.records import iso_ms
from ticklake.settings import KafkaSettings, LiveSettings
from ticklake.topics import LiveNames
from ticklake_local.processes import LOOPBACK, free_port

_BASE = datetime(2026, 1, 30, 15, tzinfo=UTC)


@dataclass
class HttpReceiver:
    """What came in, and what is answered: the next of `answers`, 200 once there is none."""

    address: str = ""
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    always: int = 200

    @property
    def ids(self) -> list[str]:
        return [headers["idempotency-key"] for _, headers, _ in self.requests]


@pytest.fixture
def http_receiver() -> Iterator[HttpReceiver]:
    got = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            got.requests.append((self.path, headers, body))
            status, more = got.answers.pop(0) if got.answers else (got.always, {})
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        got.address = f"http://127.0.0.1:{server.server_port}"
        yield got
        server.shutdown()


@dataclass
class MailReceiver:
    """What came in by SMTP, and what is answered: the next of `answers` to DATA, of `refusals` to RCPT, then 250."""

    port: int = 0
    messages: list[Message] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    signed_in: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    refusals: dict[str, list[str]] = field(default_factory=dict)

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if refusals := self.refusals.get(address):
            return refusals.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 taken"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop(0)
        self.messages.append(message_from_bytes(envelope.content))
        self.recipients.append(envelope.rcpt_tos)
        self.encrypted.append(session.ssl is not None)
        return "250 taken"

    def sign_in(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.signed_in.append(data.login.decode())
        return AuthResult(success=data.password == b"mail-secret", handled=False)


@pytest.fixture
def mail_receiver(certificate: Path) -> Iterator[MailReceiver]:
    got = MailReceiver()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    controller = Controller(
        got,
        hostname=LOOPBACK,
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=got.sign_in,
    )
    controller.start()
    got.port = controller.port
    yield got
    controller.stop()


class Service:
    """The console script with its rules, started, asked to stop or killed."""

    def __init__(self, programs: Path, folder: Path, environment: dict[str, str]) -> None:
        self._program, self.folder, self.environment = programs / "market-alerts", folder, environment
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, crash: str = "") -> None:
        """Start the process; `crash` is the point at which it kills itself."""
        command: list[str | Path] = [self._program]
        if crash:
            command = [sys.executable, Path(__file__).with_name("crashing_alerts.py"), crash]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def wait_for(self, event: str, times: int = 1) -> None:
        self.eventually(lambda: len(self.logged(event)) >= times)

    def eventually(self, check: Callable[[], bool]) -> None:
        wait_until(check, self.log.read_text, alive=lambda: self.process is None or self.process.poll() is None)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(ENDS_SECONDS)
        self.process = None
        return code

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def service(
    stage_env: Callable[..., dict[str, str]], live: Any, programs: Path, tmp_path: Path
) -> Iterator[Callable[..., Service]]:
    """A function that makes the service with rules (the text of the file); keywords are settings."""
    made: list[Service] = []

    def make(rules: str, **settings: str) -> Service:
        file = tmp_path / "rules.yaml"
        file.write_text(rules)
        environment = stage_env(
            TICKLAKE_METRICS_PORT="0",
            TICKLAKE_ALERTS_RULES_FILE=str(file),
            TICKLAKE_LOG_FORMAT="json",
            TICKLAKE_ALERTS_SESSION_TIMEOUT_SECONDS="6",
            TICKLAKE_ALERTS_RETRY_SECONDS="0.2",
            **{f"TICKLAKE_ALERTS_{name}": value for name, value in settings.items()},
        )
        made.append(Service(programs, tmp_path, environment))
        return made[-1]

    yield make
    for each in made:
        each.kill()


class Flow:
    """The test's live flow: ticks go in, alerts come out."""

    def __init__(self, settings: KafkaSettings, live: LiveNames) -> None:
        self.kafka, self.names = settings, live
        self._sequence = 0

    def send(self, *ticks: tuple[float, str, float]) -> None:
        """Ticks as (second after 2026-01-30 15:00 UTC, symbol, price)."""
        with kafka.ConfirmedProducer(self.kafka, "test") as producer:
            for symbol, value in self.messages(*ticks):
                producer.send(self.names.topic, key=symbol.encode(), value=value)

    def messages(self, *ticks: tuple[float, str, float]) -> list[tuple[str, bytes]]:
        """Key and value of ticks, as for `send`."""
        found = []
        for second, symbol, price in ticks:
            self._sequence += 1
            values = {
                "schema_version": 1,
                "symbol": symbol,
                "price": price,
                "volume": 1,
                "event_time": iso_ms(_BASE + timedelta(seconds=second)),
                "sequence": self._sequence,
                "producer_run": "run-1",
                "source": "simulated",
            }
            found.append((symbol, json.dumps(values).encode()))
        return found

    def alerts(self) -> list[Alert]:
        """Everything on the alerts topic, in its order; the keys are checked."""
        found = [(record.key, Alert.model_validate_json(record.value)) for record in self.log(self.names.alerts_topic)]
        assert all(key == alert.symbol.encode() for key, alert in found)
        return [alert for _, alert in found]

    def log(self, topic: str, partitions: int = 1) -> list[Any]:
        """All messages of a topic."""
        consumer = kafka.make_consumer(self.kafka, "test", auto_offset_reset="earliest")
        places = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        due, found = sum(consumer.end_offsets(places).values()), list[Any]()
        while len(found) < due:
            found += [record for records in consumer.poll(timeout_ms=2000).values() for record in records]
        consumer.close()
        return found

    def changes(self) -> list[tuple[str, str, float, str]]:
        """Of each alert: symbol, rule, second of its tick, state."""
        return [(a.symbol, a.rule, round((a.event_time - _BASE).total_seconds(), 3), a.state) for a in self.alerts()]

    def lag(self) -> int:
        """Messages of the live topic that are not committed."""
        consumer = kafka.make_consumer(self.kafka, "test", group_id=self.names.alerts_group)
        places = [TopicPartition(self.names.topic, number) for number in range(4)]
        ends = consumer.end_offsets(places)
        lag = sum(ends[place] - (consumer.committed(place) or 0) for place in places)
        consumer.close()
        return int(lag)


@pytest.fixture
def flow(kafka_settings: KafkaSettings, live: LiveSettings) -> Flow:
    return Flow(kafka_settings, live.names)
