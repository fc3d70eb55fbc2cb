"""Each target against a real receiver: what arrives, and which errors are repeated."""

import math
from pathlib import Path
from typing import Any

import pytest
from sample_alert import ALERT

from market_alerts.settings import DeliverySettings
from market_alerts.targets import PermanentFailure, TemporaryFailure, make_sender


def test_a_webhook_gets_the_alert_as_it_is_on_the_topic(http_receiver: Any) -> None:
    send = make_sender("webhook", DeliverySettings(webhook_url=f"{http_receiver.address}/a?b=c", webhook_token="T"))
    send(ALERT)
    send(ALERT.model_copy(update={"state": "cleared", "alert_id": "4567"}))
    [(path, headers, body), (_, _, cleared)] = http_receiver.requests
    assert (path, headers["authorization"], headers["content-type"]) == ("/a?b=c", "Bearer T", "application/json")
    assert http_receiver.ids == ["0123abcd", "4567"]
    assert body == {
        "schema_version": 1,
        "alert_id": "0123abcd",
        "rule": "level",
        "symbol": "AAPL",
        "kind": "price_cross",
        "severity": "critical",
        "message": "AAPL: price 200.5 crossed <200> & more",
        "value": 200.5,
        "threshold": 200.0,
        "event_time": "2026-01-30T15:00:01.000Z",
        "raised_at": "2026-01-30T15:00:02.000Z",
        "source": "simulated",
        "state": "raised",
    }
    assert cleared["state"] == "cleared"


def test_slack_gets_a_text_with_its_own_marks_escaped(http_receiver: Any) -> None:
    make_sender("slack", DeliverySettings(slack_webhook=f"{http_receiver.address}/services/T/B/SECRET"))(ALERT)
    [(path, _, body)] = http_receiver.requests
    assert path == "/services/T/B/SECRET"
    assert body == {
        "text": ":rotating_light: *AAPL: price 200.5 crossed &lt;200&gt; &amp; more*\n"
        "level · critical · 2026-01-30T15:00:01.000Z · simulated"
    }


@pytest.mark.parametrize(
    ("status", "headers", "kind", "after"),
    [
        (500, {}, TemporaryFailure, None),
        (503, {"Retry-After": "7"}, TemporaryFailure, 7.0),
        (429, {"Retry-After": "2"}, TemporaryFailure, 2.0),
        (404, {}, TemporaryFailure, None),
        (401, {}, TemporaryFailure, None),
        (302, {"Location": "http://127.0.0.1:1/"}, TemporaryFailure, None),
        (999, {}, TemporaryFailure, None),
        (503, {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, TemporaryFailure, None),
        (503, {"Retry-After": "9" * 1000}, TemporaryFailure, math.inf),
        (400, {}, PermanentFailure, None),
        (422, {}, PermanentFailure, None),
    ],
)
def test_responses(http_receiver: Any, status: int, headers: dict[str, str], kind: type, after: float | None) -> None:
    http_receiver.answers = [(status, headers)]
    with pytest.raises(kind, match=f"HTTP {status}") as caught:
        make_sender("webhook", DeliverySettings(webhook_url=http_receiver.address))(ALERT)
    assert getattr(caught.value, "after_seconds", None) == after


def test_no_answer_is_reported_without_the_address() -> None:
    send = make_sender("slack", DeliverySettings(slack_webhook="http://127.0.0.1:1/SECRET", timeout_seconds=1))
    with pytest.raises(TemporaryFailure) as caught:
        send(ALERT)
    assert str(caught.value) == "ConnectError"


def mail_settings(receiver: Any, certificate: Path, **changes: Any) -> DeliverySettings:
    values = {
        "smtp_host": "127.0.0.1",
        "smtp_port": receiver.port,
        "smtp_ca_file": certificate,
        "smtp_username": "me",
        "smtp_password": "mail-secret",
        "email_from": "alerts@ticklake.example",
        "timeout_seconds": 5,
        "email_to": "a@desk.example,b@desk.example",
    }
    return DeliverySettings(**(values | changes))


def test_mail_goes_encrypted_and_signed_in_to_all_recipients(mail_receiver: Any, certificate: Path) -> None:
    make_sender("email", mail_settings(mail_receiver, certificate))(ALERT)
    [message] = mail_receiver.messages
    assert mail_receiver.encrypted == [True]
    assert mail_receiver.signed_in == ["me"]
    assert mail_receiver.recipients == [["a@desk.example", "b@desk.example"]]
    assert message["Subject"] == "[critical] AAPL: price 200.5 crossed <200> & more"
    assert message["Idempotency-Key"] == "0123abcd"
    assert message["Message-ID"] == "<0123abcd@market-alerts.ticklake>"
    text = message.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert b"Event time: 2026-01-30T15:00:01.000Z" in text


def test_mail_errors(mail_receiver: Any, certificate: Path, tmp_path: Path) -> None:
    good = mail_settings(mail_receiver, certificate)
    for answer, kind in (("451 later", TemporaryFailure), ("554 never", PermanentFailure)):
        mail_receiver.answers = [answer]
        with pytest.raises(kind, match=answer[:3]):
            make_sender("email", good)(ALERT)
    for wrong, expected in (
        ({"smtp_password": "other-secret"}, "SMTPAuthenticationError 535"),
        ({"smtp_port": 1}, "ConnectionRefusedError"),
        ({"smtp_ca_file": None}, "SSLCertVerificationError"),
        ({"smtp_ca_file": None, "smtp_security": "tls"}, "SSLError"),
        ({"email_to": "a\x01@desk.example"}, "ValueError"),
    ):
        with pytest.raises(TemporaryFailure) as caught:
            make_sender("email", mail_settings(mail_receiver, certificate, **wrong))(ALERT)
        assert str(caught.value) == expected
    assert mail_receiver.messages == []


A, B = "a@desk.example", "b@desk.example"


def test_a_recipient_refused_for_now_gets_the_mail_later_and_the_other_one_once(
    mail_receiver: Any, certificate: Path
) -> None:
    mail_receiver.refusals = {A: ["451 <a@desk.example> later", "450 <a@desk.example> later"]}
    send = make_sender("email", mail_settings(mail_receiver, certificate))
    for code in (451, 450):
        with pytest.raises(TemporaryFailure) as caught:
            send(ALERT)
        assert str(caught.value) == f"SMTP {code} for 1 of 2 recipients"
    send(ALERT)
    assert mail_receiver.recipients == [[B], [A]]
    send(ALERT.model_copy(update={"alert_id": "4567"}))
    assert mail_receiver.recipients == [[B], [A], [A, B]]


def test_a_recipient_refused_for_good_is_reported_once_all_others_have_the_mail(
    mail_receiver: Any, certificate: Path
) -> None:
    mail_receiver.refusals = {A: ["451 later"], B: ["550 <b@desk.example> unknown"]}
    send = make_sender("email", mail_settings(mail_receiver, certificate, email_to=f"{A},{B},c@desk.example"))
    with pytest.raises(TemporaryFailure) as temporary:
        send(ALERT)
    assert str(temporary.value) == "SMTP 451, 550 for 2 of 3 recipients"
    with pytest.raises(PermanentFailure) as permanent:
        send(ALERT)
    assert str(permanent.value) == "SMTP 550 for 1 of 3 recipients"
    assert mail_receiver.recipients == [["c@desk.example"], [A]]


def test_an_alert_that_some_recipients_have_is_given_up_with_no_trace_on_the_next(
    mail_receiver: Any, certificate: Path
) -> None:
    mail_receiver.refusals = {A: ["451 later"]}
    send = make_sender("email", mail_settings(mail_receiver, certificate))
    with pytest.raises(TemporaryFailure):
        send(ALERT)
    send(ALERT.model_copy(update={"alert_id": "4567"}))
    assert mail_receiver.recipients == [[B], [A, B]]
