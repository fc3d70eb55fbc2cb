"""The samples that the rules ask for, kept for as long as any rule looks back."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

Labels: TypeAlias = frozenset[tuple[str, str]]
"""Label names and values, without the metric's name."""

NO_LABELS: Labels = frozenset()


class Series:
    """One series: times in seconds since 1970, ascending, and values; None marks that the series ended there."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.values: list[float | None] = []

    def at(self, time: float, look_back: float) -> float | None:
        """The newest value not older than `look_back` seconds, None where there is none or the series had ended."""
        position = bisect_right(self.times, time) - 1
        if position < 0 or self.times[position] < time - look_back:
            return None
        return self.values[position]

    def between(self, first: float, last: float) -> list[tuple[float, float]]:
        """Times and values from `first` to `last`, both included."""
        begin, end = bisect_left(self.times, first), bisect_right(self.times, last)
        found = zip(self.times[begin:end], self.values[begin:end], strict=True)
        return [(time, value) for time, value in found if value is not None]

    def forget(self, before: float) -> None:
        """Drop what is older."""
        if begin := bisect_left(self.times, before):
            del self.times[:begin], self.values[:begin]


class Samples:
    """Series by metric and labels.

    Args:
        names: metrics that are kept; others are dropped as they come.
        keep_seconds: for how long.
    """

    def __init__(self, names: Iterable[str], keep_seconds: float) -> None:
        self._names, self._keep = frozenset(names), keep_seconds
        self._series: dict[str, dict[Labels, Series]] = {name: {} for name in self._names}
        self._from: dict[str, set[tuple[str, Labels]]] = {}

    def add(self, name: str, labels: Labels, time: float, value: float | None) -> None:
        """Take one sample; None ends the series. Samples of one series come in the order of their times."""
        if name not in self._names:
            return
        series = self._series[name].setdefault(labels, Series())
        series.times.append(time)
        series.values.append(value)

    def scraped(self, target: str, time: float, samples: Mapping[tuple[str, Labels], float]) -> None:
        """Take all that one target exported; what it exported before and does not any more has ended."""
        now = {key for key in samples if key[0] in self._names}
        for name, labels in self._from.get(target, set()) - now:
            self.add(name, labels, time, None)
        for name, labels in now:
            self.add(name, labels, time, samples[name, labels])
        self._from[target] = now

    def forget(self, now: float) -> None:
        """Drop what no rule looks back to."""
        for found in self._series.values():
            for labels, series in list(found.items()):
                series.forget(now - self._keep)
                if not series.times:
                    del found[labels]

    def of(self, name: str) -> Iterator[tuple[Labels, Series]]:
        """The series of a metric."""
        return iter(self._series.get(name, {}).items())
