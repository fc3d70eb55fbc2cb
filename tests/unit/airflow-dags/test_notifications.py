"""Notices of failures to a real webhook and a real mail server on this machine."""

import email
import email.policy
import json
import logging
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from ticklake_local.processes import free_port


class Webhook:
    """Answers as Slack does, or with the status that is set."""

    def __init__(self) -> None:
        self.status, self.posts = 200, []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(hook.status)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/T0/B0/hush"

    posts: list[dict[str, Any]]


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    hook = Webhook()
    threading.Thread(target=hook.server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TICKLAKE_NOTIFY_SLACK_WEBHOOK", hook.url)
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Envelope]]:
    received: list[Envelope] = []

    class Keep:
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
            received.append(envelope)
            return "250 OK"

    server = Controller(Keep(), hostname="127.0.0.1", port=free_port())
    server.start()
    connection = {
        "conn_type": "smtp",
        "host": "127.0.0.1",
        "port": server.port,
        "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "ticklake@example.com"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("TICKLAKE_NOTIFY_EMAIL", "desk@example.com, duty@example.com")
    yield received
    server.stop()


@pytest.fixture
def failure() -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="stock_market_pipeline",
        task_id="validate_raw_data",
        run_id="scheduled__2024-07-05",
        try_number=3,
        log_url="http://airflow.example.com/log?x=1&y=2",
    )
    return {"ti": ti, "exception": RuntimeError("validate-raw: 3 <of> 10 symbols & more have no rows {{ ds }}")}


def notify(context: dict[str, Any]) -> None:
    from ticklake_airflow.notifications import notify_failure

    notify_failure(context)  # type: ignore[arg-type]


def test_slack_gets_what_failed_and_why(webhook: Webhook, failure: dict[str, Any]) -> None:
    notify(failure)
    assert webhook.posts == [
        {
            "text": "*stock_market_pipeline: validate_raw_data failed*\n"
            "run `scheduled__2024-07-05`, attempt 3\n"
            "```validate-raw: 3 &lt;of&gt; 10 symbols &amp; more have no rows {{ ds }}```\n"
            "<http://airflow.example.com/log?x=1&y=2|log>"
        }
    ]


def test_each_recipient_gets_a_mail(mailbox: list[Envelope], failure: dict[str, Any]) -> None:
    notify(failure)
    (envelope,) = mailbox
    assert envelope.mail_from == "ticklake@example.com"
    assert envelope.rcpt_tos == ["desk@example.com", "duty@example.com"]
    message = email.message_from_bytes(bytes(envelope.content or b""), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert message["Subject"] == "ticklake: stock_market_pipeline: validate_raw_data failed"
    body = message.get_body()
    assert isinstance(body, EmailMessage)
    assert "3 &lt;of&gt; 10 symbols &amp; more have no rows {{ ds }}" in body.get_content()


def test_a_channel_that_fails_stops_neither_the_other_nor_the_task(
    webhook: Webhook, mailbox: list[Envelope], failure: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    webhook.status = 500
    notify(failure)
    assert len(mailbox) == 1
    assert "by Slack: HTTPStatusError" in caplog.text
    # The webhook's address is a secret.
    assert "hush" not in caplog.text


def test_servers_that_are_not_there_are_no_failure(
    failure: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TICKLAKE_NOTIFY_SLACK_WEBHOOK", f"http://127.0.0.1:{free_port()}/hush")
    monkeypatch.setenv("TICKLAKE_NOTIFY_EMAIL", "desk@example.com")
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", f"smtp://127.0.0.1:{free_port()}/?disable_ssl=true")
    notify(failure)
    assert "by Slack: ConnectError" in caplog.text
    assert "by e-mail: " in caplog.text
    assert "hush" not in caplog.text


def test_wrong_settings_are_no_failure(
    failure: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TICKLAKE_NOTIFY_TIMEOUT_SECONDS", "-1")
    notify(failure)
    assert "TICKLAKE_NOTIFY_TIMEOUT_SECONDS" in caplog.text


def test_nobody_is_notified_where_nobody_is_named(failure: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        notify(failure)
    assert caplog.messages == []
