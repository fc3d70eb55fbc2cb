"""What long-running services have in common: their main function, and the parts of their loops."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from ticklake import kafka, logs, readiness
from ticklake.credentials import Rejected
from ticklake.errors import ExitCode, IntegrityError, StageError
from ticklake.program import Arguments, guarded, say
from ticklake.settings import KafkaSettings, StageSettings, load

S = TypeVar("S", bound=StageSettings)
Work = Callable[[], None]

log = logs.get(__name__)

_STOP_SECONDS = 9.5
_STUCK_SECONDS = 180.0
_RETRY_SECONDS = 1.0


def service_main(
    name: str, settings_type: type[S], body: Callable[[S, threading.Event], None], argv: Sequence[str] | None = None
) -> NoReturn:
    """Run a long-running stage until it ends or SIGTERM or SIGINT sets the event that `body` is handed; then exit."""

    def work() -> None:
        Arguments(prog=name, description="Settings come from TICKLAKE_… variables.").parse_args(argv)
        settings = load(settings_type)
        logs.configure(settings.log_level, settings.log_format, stage=name)
        stop = threading.Event()

        def ask_to_stop(*_: object) -> None:
            stop.set()
            last = threading.Timer(_STOP_SECONDS, _end_now, (name,))
            last.daemon = True
            last.start()

        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, ask_to_stop)
        readiness.wait(settings, settings.start_wait_seconds, stop)
        body(settings, stop)
        log.info("stopped")

    sys.exit(guarded(name, work))


def _end_now(name: str) -> None:
    # A call to a broker or store that hangs cannot be interrupted otherwise. What a stage promises to keep, it has
    # written by then or finds again at its next start.
    say(
        name,
        f"did not end within {_STOP_SECONDS:g} s of being asked to: a broker or store does not answer, or the machine "
        "is overloaded",
    )
    os._exit(ExitCode.FAILED)


class Heartbeat:
    """Whether a loop still goes round: it calls `beat` each time, a probe asks `alive`.

    Args:
        stuck_seconds: after so long without a beat the loop is stuck.
    """

    def __init__(self, stuck_seconds: float = _STUCK_SECONDS) -> None:
        self._stuck_seconds = stuck_seconds
        self.beat()

    def beat(self) -> None:
        """Note that the loop goes round."""
        self._last = time.monotonic()

    def alive(self) -> bool:
        """False where the loop is stuck."""
        return time.monotonic() - self._last < self._stuck_seconds


class Attempts:
    """What a loop does again and again; a failure that may pass delays only what failed.

    Args:
        count: called with the work's name at each failure, for metrics.
        rejected: why credentials are rejected, if they are, which is logged elsewhere.
    """

    def __init__(self, count: Callable[[str], None], rejected: Rejected) -> None:
        self._count, self._rejected = count, rejected
        self._next: dict[Work, float] = {}

    def due(self, work: Work) -> bool:
        """Whether `work` is to be done now."""
        return time.monotonic() >= self._next.get(work, 0)

    def at_once(self, work: Work) -> None:
        """Make `work` due."""
        self._next.pop(work, None)

    def attempt(self, work: Work, every: float = 0, retry_seconds: float = _RETRY_SECONDS) -> None:
        """Do `work` if it is due.

        Args:
            every: seconds from one success to the next try.
            retry_seconds: the same after a failure.

        Raises:
            StageError: it failed, and the same call will again.
        """
        if not self.due(work):
            return
        try:
            work()
            self._next[work] = time.monotonic() + every
        except StageError as error:
            self.failed(work.__name__.lstrip("_"), error)
            self._next[work] = time.monotonic() + retry_seconds

    def failed(self, name: str, error: StageError) -> None:
        """Count and log that what is called `name` failed and will be tried again.

        Raises:
            StageError: `error`, where the same call will fail again.
        """
        if error.final:
            raise error
        self._count(name)
        if not self._rejected():
            log.warning("will try again", error=str(error))


class TopicIdentity:
    """The topic that a service began with: one of the same name that was made again has other messages.

    Raises:
        ConfigurationError: there is none, or the client may not see it.
        StageError: the broker does not answer.
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self.id = kafka.topic_id(settings, topic)

    def check_topic(self) -> None:
        """Check that it is still the same.

        Raises:
            IntegrityError: it was recreated.
        """
        if kafka.topic_id(self._settings, self._topic) != self.id:
            raise IntegrityError(f"topic {self._topic} was recreated while it was read: start again")
