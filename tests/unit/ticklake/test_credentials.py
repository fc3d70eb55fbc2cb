"""Which answers end a service, after how long, and what it reports meanwhile; with a clock of the test's."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from ticklake import credentials
from ticklake.credentials import SignIn, Watch
from ticklake.errors import ConfigurationError, CredentialsError, DeniedError, IntegrityError, StageError
from ticklake.metrics import Health, served
from ticklake.settings import KafkaSettings, ServiceSettings, StoreSettings
from ticklake_local.processes import free_port

SETTINGS = ServiceSettings(credentials_wait_seconds=120, credentials_rejected_seconds=30)
WRONG = CredentialsError("the store rejects the credentials")
AWAY = StageError("the store does not answer")
DENIED = DeniedError("the store denies permission to list raw/")
NO_BUCKET = ConfigurationError("the store has no bucket lake")


class Server:
    """Gives these answers, the last one for ever; None accepts. Its clock is in seconds."""

    def __init__(self, *answers: StageError | None) -> None:
        self.now, self.answers = 100.0, list(answers)
        self.asked = 0

    def clock(self) -> float:
        return self.now

    def check(self) -> None:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            raise answer


def watch_of(server: Server) -> tuple[Watch, threading.Event]:
    stop = threading.Event()
    return Watch({"store": server.check}, SETTINGS, stop, server.clock), stop


def look(watch: Watch, server: Server, *seconds: float) -> None:
    """Look at each of these times after the first."""
    start = server.now
    for after in seconds:
        server.now = start + after
        watch.look("store")


@pytest.fixture(autouse=True)
def no_forced_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's process must not end because a service's would."""
    monkeypatch.setattr(credentials.os, "_exit", lambda _: None)


@pytest.mark.parametrize(
    ("first", "patience"),
    [(None, 30), (WRONG, 120), (AWAY, 120), (NO_BUCKET, 120)],
    ids=["accepted before", "never accepted", "away at first", "no bucket at first"],
)
def test_a_rejection_that_lasts_ends_the_service(first: StageError | None, patience: float) -> None:
    server = Server(first, WRONG)
    watch, stop = watch_of(server)
    watch.look("store")
    look(watch, server, 0, patience / 2, patience - 0.1)
    assert not stop.is_set()
    assert watch.rejected() == str(WRONG)
    look(watch, server, 0.1)
    assert stop.is_set()
    assert str(watch.error).startswith(f"{WRONG} (rejected for {patience} s; ")
    assert watch.error is not None
    assert watch.error.exit_code == 2


def test_a_denial_is_no_answer_while_a_new_user_may_be_without_its_rights() -> None:
    server = Server(WRONG, DENIED)
    watch, _ = watch_of(server)
    look(watch, server, 0, 1, 29)
    assert watch.rejected() == str(WRONG)
    look(watch, server, 1)
    assert not watch.rejected()


@pytest.mark.parametrize("before", [(), (None, WRONG)], ids=["never rejected", "accepted before"])
def test_a_denial_of_a_user_that_is_not_new_is_an_accepted_sign_in(before: tuple[StageError | None, ...]) -> None:
    server = Server(*before, DENIED)
    watch, stop = watch_of(server)
    for _ in (*before, DENIED):
        watch.look("store")
    assert not watch.rejected()
    assert not stop.is_set()


def test_an_accepted_sign_in_ends_the_rejection() -> None:
    server = Server(None, WRONG, WRONG, None, WRONG, WRONG, WRONG)
    watch, stop = watch_of(server)
    with capture_logs() as logs:
        look(watch, server, 0, 1, 29, 30)
        assert not watch.rejected()
        look(watch, server, 1, 30)
        assert not stop.is_set()
        look(watch, server, 1)
    assert stop.is_set()
    # Once for each rejection, however often it was asked.
    assert [line["event"] for line in logs] == [
        "credentials rejected",
        "credentials accepted again",
        "credentials rejected",
        "ending",
    ]
    assert logs[0]["reason"] == str(WRONG)


@pytest.mark.parametrize("other", [AWAY, NO_BUCKET, IntegrityError("odd")])
def test_no_other_answer_ends_the_service(other: StageError) -> None:
    server = Server(None, other)
    watch, stop = watch_of(server)
    look(watch, server, 0, 1, 1000)
    assert not watch.rejected()
    assert not stop.is_set()
    # Nor does it end or lengthen a rejection.
    server.answers = [WRONG, other, other, WRONG]
    look(watch, server, 0, 10, 40)
    assert watch.rejected()
    assert not stop.is_set()
    look(watch, server, 1)
    assert stop.is_set()


def test_a_stop_that_was_asked_for_before_has_no_error() -> None:
    server = Server(WRONG)
    watch, stop = watch_of(server)
    watch.look("store")
    stop.set()
    look(watch, server, 500)
    assert watch.error is None


def answer_of(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_readiness_reports_why_credentials_are_rejected() -> None:
    sign_in = SignIn(SETTINGS)
    with served(Health(rejected=lambda: sign_in.reason), 0, host="127.0.0.1") as port:
        assert answer_of(port, "/readyz") == (200, "ok\n")
        sign_in.rejected("wrong key")
        assert answer_of(port, "/readyz") == (503, "wrong key\n")
        assert answer_of(port, "/livez") == (200, "ok\n")
        sign_in.accepted()
        assert answer_of(port, "/readyz") == (200, "ok\n")


Run = Callable[..., threading.Event]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `work` under the watch of one server, asked every hundredth of a second."""
    monkeypatch.setattr(credentials, "_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(credentials, "_AGAIN_SECONDS", 0.01)

    def watched(server: Server, work: Callable[[threading.Event, Callable[[], str]], None], **more: Any) -> Any:
        monkeypatch.setattr(credentials, "_checks", lambda *_: {"store": server.check})
        settings, stop = ServiceSettings(metrics_port=free_port(), **more), threading.Event()
        credentials.watched(settings, stop, lambda rejected: work(stop, rejected), store=StoreSettings())
        return stop

    return watched


def test_work_begins_once_the_credentials_are_accepted(run: Run) -> None:
    server = Server(WRONG, WRONG, WRONG, None)
    asked: list[int] = []
    run(server, lambda *_: asked.append(server.asked))
    assert len(asked) == 1
    assert asked[0] >= 4


def test_a_server_that_is_away_does_not_hold_up_the_work(run: Run) -> None:
    began: list[str] = []
    run(Server(AWAY), lambda _, rejected: began.append(rejected()))
    assert began == [""]


def test_work_does_not_begin_with_credentials_that_stay_rejected(run: Run) -> None:
    with pytest.raises(CredentialsError, match=r"rejects the credentials \(rejected for 0\.05 s"):
        run(Server(WRONG), lambda *_: pytest.fail("must not begin"), credentials_wait_seconds=0.05)


def test_work_is_asked_to_stop_and_may_end_in_an_error(run: Run) -> None:
    def work(stop: threading.Event, _: object) -> None:
        server.answers = [WRONG]
        assert stop.wait(20)
        raise StageError("stopped with 3 ranges not written")

    server = Server(None)
    with pytest.raises(CredentialsError, match=r"rejected for 0\.05 s"):
        run(server, work, credentials_rejected_seconds=0.05)


@pytest.mark.parametrize(
    ("error", "line"),
    [(StageError("the broker does not answer"), "rejects the credentials"), (IntegrityError("lost"), "lost")],
)
def test_what_fails_while_credentials_are_rejected_is_reported_as_that(run: Run, error: StageError, line: str) -> None:
    def work(_: object, rejected: Callable[[], str]) -> None:
        server.answers = [WRONG]
        while not rejected():
            pass
        raise error

    server = Server(None)
    with pytest.raises(StageError, match=line):
        run(server, work)


def test_only_a_kafka_with_a_sign_in_is_asked() -> None:
    plain, sasl = KafkaSettings(), KafkaSettings(security_protocol="SASL_SSL", username="a", password="b")
    assert set(credentials._checks(None, "", plain)) == set()
    assert set(credentials._checks(StoreSettings(), "", sasl)) == {"store", "kafka"}
