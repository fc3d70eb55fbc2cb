"""What the start does while credentials are rejected."""

import threading
import time

import pytest

from stream_analytics import supervisor
from stream_analytics.settings import StreamAnalyticsSettings, StreamSettings
from stream_analytics.supervisor import check_at_start
from ticklake import credentials
from ticklake.errors import ConfigurationError, CredentialsError
from ticklake.settings import CatalogSettings, LiveSettings

CATALOG = CatalogSettings(uri="sqlite:////data/catalog.db")


def settings(wait_seconds: float, **stream: float) -> StreamAnalyticsSettings:
    return StreamAnalyticsSettings(
        catalog=CATALOG,
        live=LiveSettings(namespace=""),
        stream=StreamSettings.model_validate(stream),
        credentials_wait_seconds=wait_seconds,
    )


def answering(monkeypatch: pytest.MonkeyPatch, *answers: object) -> list[float]:
    """Servers that give these answers, the last one again and again; returns when each check was."""
    checks: list[float] = []

    def check(_: StreamAnalyticsSettings) -> object:
        checks.append(time.monotonic())
        answer = answers[min(len(checks), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(supervisor, "check_servers", check)
    monkeypatch.setattr(supervisor, "_FIRST_SECONDS", 0.01)
    return checks


REJECTED, DENIED, FOUND = CredentialsError("rejected"), ConfigurationError("denied"), object()


def test_a_user_that_is_made_while_spark_starts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = answering(monkeypatch, REJECTED, REJECTED, DENIED, DENIED, FOUND)
    assert check_at_start(settings(60), threading.Event()) is FOUND
    assert len(checks) == 5


def test_a_denial_ends_the_start_unless_the_user_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = answering(monkeypatch, DENIED)
    with pytest.raises(ConfigurationError, match="denied"):
        check_at_start(settings(60), threading.Event())
    assert len(checks) == 1
    monkeypatch.setattr(credentials, "_RIGHTS_SECONDS", 0.05)
    checks = answering(monkeypatch, REJECTED, DENIED)
    with pytest.raises(ConfigurationError, match="denied"):
        check_at_start(settings(60), threading.Event())
    assert len(checks) > 2


def test_credentials_that_stay_rejected_end_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = answering(monkeypatch, REJECTED)
    with pytest.raises(CredentialsError):
        check_at_start(settings(0.05), threading.Event())
    assert len(checks) > 1


def test_a_short_run_and_a_stopped_one_wait_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = answering(monkeypatch, REJECTED)
    with pytest.raises(CredentialsError):
        check_at_start(settings(60, until_closed_windows=1), threading.Event())
    stop = threading.Event()
    stop.set()
    with pytest.raises(CredentialsError):
        check_at_start(settings(60), stop)
    assert len(checks) == 2
