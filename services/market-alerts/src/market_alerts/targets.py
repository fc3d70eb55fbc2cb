"""Delivery of one alert to one target: webhook, Slack, e-mail. No error and no log line has an address or a secret."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib
import httpx

from market_alerts.rules import Target
from market_alerts.settings import DeliverySettings
from ticklake.alerts import Alert, Severity
from ticklake.attempt_loop import run_attempt
from ticklake.backoff import retry_after_seconds
from ticklake.errors import ConfigurationError
from ticklake.records import iso_ms

Send = Callable[[Alert], None]
"""Returns once the target has accepted the alert; raises TemporaryFailure or PermanentFailure.

Either within `DeliverySettings.timeout_seconds`, whatever the target does.
"""

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
    post = _poster(url, settings.timeout_seconds)

    def send(alert: Alert) -> None:
        post(alert.model_dump_json().encode(), headers | {ID_HEADER: alert.alert_id})

    return send


def _slack(settings: DeliverySettings) -> Send:
    assert settings.slack_webhook is not None  # noqa: S101 - as above
    post = _poster(settings.slack_webhook.get_secret_value(), settings.timeout_seconds)

    def send(alert: Alert) -> None:
        post({"text": slack_text(alert)}, {ID_HEADER: alert.alert_id})

    return send


def _poster(url: str, seconds: float) -> Callable[[bytes | dict[str, str], dict[str, str]], None]:
    """A function that posts a body (bytes, or what becomes JSON) with headers, and is done within `seconds`."""
    context = httpx.create_ssl_context()  # reads the certificate authorities, which takes long

    async def responded(body: bytes | dict[str, str], headers: dict[str, str]) -> httpx.Response:
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        # httpx's own limits are per read. The response's body is not read: it may be endless and says nothing more.
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(verify=context, timeout=None) as client,  # noqa: S113 - asyncio's
            client.stream("POST", url, headers=headers, **content) as response,
        ):
            return response

    def post(body: bytes | dict[str, str], headers: dict[str, str]) -> None:
        try:
            response = run_attempt(responded(body, headers))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise TemporaryFailure(type(error).__name__) from None
        if response.is_success:
            return
        reason = f"HTTP {response.status_code}"
        if response.status_code in _ALERT_REJECTED:
            raise PermanentFailure(reason)
        raise TemporaryFailure(reason, retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC)))

    return post


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

    everyone = list(dict.fromkeys(settings.email_to))
    attempted, waiting, rejected = "", everyone, dict[str, int]()

    def send(alert: Alert) -> None:
        nonlocal attempted, waiting, rejected
        # An alert is attempted until it is done, so only the last one can have reached some recipients and not others.
        if alert.alert_id != attempted or not waiting:
            attempted, waiting, rejected = alert.alert_id, everyone, {}
        try:
            refused = run_attempt(_refused(settings, context, email_message(alert, settings), waiting))
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            # ValueError: an address with control characters.
            cause = error.__cause__ if isinstance(error, aiosmtplib.SMTPConnectError) else None
            code = f" {error.code}" if isinstance(error, aiosmtplib.SMTPResponseException) else ""
            raise TemporaryFailure(f"{type(cause or error).__name__}{code}") from None
        rejected |= {address: code for address, code in refused.items() if 500 <= code < 600}
        waiting = [address for address in refused if address not in rejected]
        if failed := refused if waiting else rejected:
            codes = ", ".join(str(code) for code in sorted(set(failed.values())))
            reason = f"SMTP {codes} for {len(failed)} of {len(everyone)} recipients"
            raise TemporaryFailure(reason) if waiting else PermanentFailure(reason)

    return send


async def _refused(
    settings: DeliverySettings, context: ssl.SSLContext | None, message: EmailMessage, recipients: list[str]
) -> dict[str, int]:
    """Send `message`, and return the recipients that the server refused, with its codes."""
    password = settings.smtp_password
    server = aiosmtplib.SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        use_tls=settings.smtp_security == "tls",
        start_tls=settings.smtp_security == "starttls",
        tls_context=context,
        username=settings.smtp_username,
        password=None if password is None else password.get_secret_value(),
        timeout=None,
    )
    async with asyncio.timeout(settings.timeout_seconds) as limit:
        await server.connect()
        try:
            refused, _ = await server.send_message(message, recipients=recipients)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return {each.recipient: each.code for each in error.recipients}
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
            return dict.fromkeys(recipients, error.code)
    # The server has the mail: nothing that it does from here on may have it sent again.
    with contextlib.suppress(aiosmtplib.SMTPException, OSError):
        async with asyncio.timeout_at(limit.when()):
            await server.quit()
    return {address: response.code for address, response in refused.items()}


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
