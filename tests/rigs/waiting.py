"""How tests wait: until something is so, for as long as the slowest machine may take, and no longer than needed."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

SECONDS = 300.0
"""How long a test waits for what must come: room for the slowest machine."""
ENDS_SECONDS = 60.0
"""The same for a process that was asked to end, or that lost what it needs."""


def wait_until(
    check: Callable[[], Found | None],
    output: Callable[[], object] = str,
    *,
    alive: Callable[[], object] = lambda: True,
    seconds: float = SECONDS,
    pause: float = 0.1,
) -> Found:
    """Call `check` repeatedly, and return the first answer that is true.

    Args:
        check: is asked at least once.
        output: what a failure shows the end of, such as a log.
        alive: whether it can still come; that of a process that must not end meanwhile.
        seconds: fail after this time.
        pause: between two questions; longer where one is dear.
    """
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert alive(), f"it ended too early: {str(output())[-4000:]}"
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {str(output())[-4000:]}"
        time.sleep(pause)
    return found
