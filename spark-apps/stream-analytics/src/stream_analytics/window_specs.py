"""The kinds of windows. Apart from what computes them, as settings need it and must not wait for PySpark."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class WindowSpec:
    """One kind of sliding window. Windows start at whole multiples of the slide since 1970-01-01T00:00:00Z."""

    name: str
    """`15m` or `1h`: the value of the column `window_length`."""
    length: timedelta
    slide: timedelta
    """Divides the length."""


def micros(duration: timedelta) -> int:
    """`duration` in microseconds, the unit of Spark's timestamps."""
    return duration // timedelta(microseconds=1)
