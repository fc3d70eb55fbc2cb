"""Trying until a server that is still starting answers."""

import threading
import time
from collections.abc import Callable

from ticklake import logs
from ticklake.errors import ConfigurationError, StageError

log = logs.get(__name__)

_PAUSE_SECONDS = 3


def until_done(what: str, attempt: Callable[[], None], seconds: float, stop: threading.Event) -> None:
    """Call `attempt` until it goes through, for at most `seconds` or until `stop` is set.

    Raises:
        ConfigurationError: `attempt` raised it; trying again would not help.
        StageError: what `attempt` raised last.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            attempt()
            return
        except ConfigurationError:
            raise
        except StageError as error:
            if time.monotonic() > deadline or stop.wait(_PAUSE_SECONDS):
                raise
            log.info("waiting", where=what, reason=str(error))
