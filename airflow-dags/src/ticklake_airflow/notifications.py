"""Notifies people of a failed task: Slack by webhook, e-mail through Airflow's SMTP connection."""

import html
import logging
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from airflow.sdk import Context

from ticklake.settings import load
from ticklake_airflow.settings import NotifySettings

log = logging.getLogger(__name__)

_REASON_LENGTH = 1500


@dataclass(frozen=True)
class Failure:
    """What a message says."""

    dag_id: str
    task_id: str
    run_id: str
    attempt: int
    reason: str
    log_url: str

    @property
    def title(self) -> str:
        """One line."""
        return f"{self.dag_id}: {self.task_id} failed"

    @classmethod
    def of(cls, context: Context) -> "Failure":
        """The failure that Airflow calls back for."""
        ti = context["ti"]
        reason = str(context.get("exception") or "no reason was given").strip()
        return cls(
            ti.dag_id, ti.task_id, ti.run_id, ti.try_number, reason[:_REASON_LENGTH], getattr(ti, "log_url", None) or ""
        )


def notify_failure(context: Context) -> None:
    """Send to each channel that is configured. Never fails: what cannot be sent is logged by the task."""
    try:
        settings = load(NotifySettings)
        failure = Failure.of(context)
    except Exception as error:
        log.warning("No notice of the failure was sent: %s", error)
        return
    if settings.slack_webhook:
        _attempt("Slack", lambda: send_slack(settings, failure))
    if settings.email:
        _attempt("e-mail", lambda: send_email(settings, failure))


def _attempt(channel: str, send: Callable[[], None]) -> None:
    try:
        send()
    except Exception as error:
        # The type alone: an error's text can hold the webhook's address, which is a secret.
        log.warning("No notice of the failure by %s: %s", channel, type(error).__name__)
    else:
        log.info("Notice of the failure sent by %s", channel)


def send_slack(settings: NotifySettings, failure: Failure) -> None:
    """Post to the webhook.

    Raises:
        httpx.HTTPError: it does not answer, or not with success.
    """
    assert settings.slack_webhook is not None  # noqa: S101
    lines = [
        f"*{_mrkdwn(failure.title)}*",
        f"run `{_mrkdwn(failure.run_id)}`, attempt {failure.attempt}",
        f"```{_mrkdwn(failure.reason)}```",
    ]
    if failure.log_url:
        lines.append(f"<{failure.log_url}|log>")
    # A connection that fails is tried once more; an answer is final.
    with httpx.Client(transport=httpx.HTTPTransport(retries=1), timeout=settings.timeout_seconds) as client:
        client.post(settings.slack_webhook.get_secret_value(), json={"text": "\n".join(lines)}).raise_for_status()


def send_email(settings: NotifySettings, failure: Failure) -> None:
    """Send one message to all recipients. Raises what the connection or the server answers."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    rows = {
        "DAG": failure.dag_id,
        "task": failure.task_id,
        "run": failure.run_id,
        "attempt": str(failure.attempt),
        "reason": failure.reason,
        "log": failure.log_url,
    }
    body = "".join(f"<tr><th align=left>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows.items())
    with SmtpHook(settings.smtp_connection) as smtp:
        smtp.send_email_smtp(
            to=list(settings.email), subject=f"ticklake: {failure.title}", html_content=f"<table>{body}</table>"
        )


def _mrkdwn(text: str) -> str:
    """`text` with what Slack takes for its own marks escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("```", "'''")
