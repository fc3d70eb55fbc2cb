"""Delivery of one alert to one target: webhook, Slack, e-mail. No error and no log line has an address or a secret."""

import logging
import smtplib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

import httpx

from market_alerts.rules import Target
from market_alerts.settings import DeliverySettings
from ticklake.alerts import Alert, Severity
from ticklake.backoff import retry_after_seconds
from ticklake.errors import ConfigurationError
from ticklake.records import iso_ms

Send = Callable[[Alert], None]
"""Returns once the target has accepted the alert; raises TemporaryFailure or PermanentFailure."""

ID_HEADER = "Idempotency-Key"
"""Has the alert's id: what was sent twice is one alert."""

_ALERT_REJECTED = frozenset({400, 405, 413, 415, 422})
"""Responses that reject this message; any other error may be over, or fixed, before the alert is too old."""
_SLACK_MARKS = {
    Severity.INFO: ":information_source:",
    Severity.WARNING: ":warning:",
    Severity.CRITICAL: ":rotating_light:",
}


class TemporaryFailure(Exception):
    """The target did not accept the alert; it may later."""

    def __init__(self, reason: str, after_seconds: float | None = None) -> None:
        """State why; `after_seconds` is how long the target asks to wait."""
        super().__init__(reason)
        self.after_seconds = after_seconds


class PermanentFailure(Exception):
    """The target will never accept this alert."""


def make_sender(target: Target, settings: DeliverySettings) -> Send:
    """A function that delivers to `target`, which is set up.

    Raises:
        ConfigurationError: the certificate authority's file cannot be read.
    """
    # httpx logs each request with its whole URL.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    match target:
        case "webhook":
            return _webhook(settings)
        case "slack":
            return _slack(settings)
        case "email":
            return _email(settings)


def _webhook(settings: DeliverySettings) -> Send:
    assert settings.webhook_url is not None  # noqa: S101 - DeliverySettings.targets has checked it
    url, headers = settings.webhook_url.get_secret_value(), {"Content-Type": "application/json"}
    if settings.webhook_token is not None:
        headers["Authorization"] = f"Bearer {settings.webhook_token.get_secret_value()}"
    client = httpx.Client(timeout=settings.timeout_seconds)

    def send(alert: Alert) -> None:
        _post(client, url, alert.model_dump_json().encode(), headers | {ID_HEADER: alert.alert_id})

    return send


def _slack(settings: DeliverySettings) -> Send:
    assert settings.slack_webhook is not None  # noqa: S101 - as above
    url = settings.slack_webhook.get_secret_value()
    client = httpx.Client(timeout=settings.timeout_seconds)

    def send(alert: Alert) -> None:
        _post(client, url, {"text": slack_text(alert)}, {ID_HEADER: alert.alert_id})

    return send


def _post(client: httpx.Client, url: str, body: bytes | dict[str, str], headers: dict[str, str]) -> None:
    try:
        if isinstance(body, bytes):
            response = client.post(url, content=body, headers=headers)
        else:
            response = client.post(url, json=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TemporaryFailure(type(error).__name__) from None
    if response.is_success:
        return
    reason = f"HTTP {response.status_code}"
    if response.status_code in _ALERT_REJECTED:
        raise PermanentFailure(reason)
    raise TemporaryFailure(reason, retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC)))


def slack_text(alert: Alert) -> str:
    """The alert as Slack's mrkdwn."""
    mark = ":white_check_mark:" if alert.state == "cleared" else _SLACK_MARKS[alert.severity]
    text = alert.message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{mark} *{text}*\n{alert.rule} · {alert.severity} · {iso_ms(alert.event_time)} · {alert.source}"


def _email(settings: DeliverySettings) -> Send:
    if settings.smtp_security == "none":
        context = None
    else:
        try:
            context = ssl.create_default_context(cafile=settings.smtp_ca_file)
        except OSError as error:
            raise ConfigurationError(
                f"TICKLAKE_ALERTS_SMTP_CA_FILE: {settings.smtp_ca_file} is no file of certificates"
            ) from error

    def send(alert: Alert) -> None:
        message = email_message(alert, settings)
        try:
            with _connected(settings, context) as server:
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            raise _smtp_error(min(codes, default=450)) from None
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            raise _smtp_error(error.smtp_code) from None
        except (smtplib.SMTPException, OSError) as error:
            code = f" {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
            raise TemporaryFailure(f"{type(error).__name__}{code}") from None

    return send


def _connected(settings: DeliverySettings, context: ssl.SSLContext | None) -> smtplib.SMTP:
    host, port, timeout = settings.smtp_host or "", settings.smtp_port, settings.timeout_seconds
    server: smtplib.SMTP
    if settings.smtp_security == "tls":
        server = smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
    else:
        server = smtplib.SMTP(host, port, timeout=timeout)
    try:
        if settings.smtp_security == "starttls":
            server.starttls(context=context)
        if settings.smtp_username is not None and settings.smtp_password is not None:
            server.login(settings.smtp_username, settings.smtp_password.get_secret_value())
    except BaseException:
        server.close()
        raise
    return server


def _smtp_error(code: int) -> Exception:
    return PermanentFailure(f"SMTP {code}") if code >= 500 else TemporaryFailure(f"SMTP {code}")


def email_message(alert: Alert, settings: DeliverySettings) -> EmailMessage:
    """The alert as a plain-text message."""
    message = EmailMessage()
    message["From"] = settings.email_from
    message["To"] = ", ".join(settings.email_to)
    message["Subject"] = f"[{'cleared' if alert.state == 'cleared' else alert.severity}] {alert.message}"
    message["Date"] = format_datetime(alert.raised_at)
    # The same alert has the same Message-ID, by which mail programs recognize duplicates.
    message["Message-ID"] = f"<{alert.alert_id}@market-alerts.ticklake>"
    message[ID_HEADER] = alert.alert_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies
    rows = {
        "Rule": f"{alert.rule} ({alert.kind})",
        "Symbol": alert.symbol,
        "State": alert.state,
        "Severity": alert.severity.value,
        "Value": f"{alert.value:g}",
        "Threshold": f"{alert.threshold:g}",
        "Event time": iso_ms(alert.event_time),
        "Raised at": iso_ms(alert.raised_at),
        "Source": alert.source.value,
        "Alert": alert.alert_id,
    }
    message.set_content(f"{alert.message}\n\n" + "".join(f"{name + ':':12}{text}\n" for name, text in rows.items()))
    return message
