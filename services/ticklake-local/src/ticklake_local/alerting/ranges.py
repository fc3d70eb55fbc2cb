"""Functions over the samples of a range, by Prometheus' documentation."""

from collections.abc import Callable, Sequence

Points = Sequence[tuple[float, float]]
"""Times in seconds and values, ascending."""


def increase(points: Points, first: float, last: float) -> float | None:
    """How much a counter grew between `first` and `last`; None with fewer than two samples.

    A fall is a counter that was reset. The growth between the first and last sample is carried on to the ends of the
    range, unless a sample is farther from its end than samples usually are from each other: then by half of that
    distance. A counter is never carried back below 0.
    """
    if len(points) < 2:
        return None
    growth, before = 0.0, points[0][1]
    for _, value in points[1:]:
        growth += value - before if value >= before else value
        before = value
    covered = points[-1][0] - points[0][0]
    distance = covered / (len(points) - 1)
    to_start, to_end = points[0][0] - first, last - points[-1][0]
    if growth > 0 and points[0][1] >= 0:
        to_start = min(to_start, covered * points[0][1] / growth)
    reach = covered + sum(gap if gap < distance * 1.1 else distance / 2 for gap in (to_start, to_end))
    return growth * reach / covered


def rate(points: Points, first: float, last: float) -> float | None:
    """A counter's growth per second."""
    grown = increase(points, first, last)
    return None if grown is None else grown / (last - first)


def predict_linear(points: Points, _first: float, last: float, ahead: float) -> float | None:
    """The value `ahead` seconds after `last`, on the straight line of least squares through the samples."""
    if len(points) < 2:
        return None
    count = len(points)
    mean_time = sum(time for time, _ in points) / count
    mean = sum(value for _, value in points) / count
    spread = sum((time - mean_time) ** 2 for time, _ in points)
    slope = sum((time - mean_time) * (value - mean) for time, value in points) / spread if spread else 0.0
    return mean + slope * (last - mean_time + ahead)


RANGE_FUNCTIONS: dict[str, Callable[..., float | None]] = {
    "increase": increase,
    "rate": rate,
    "predict_linear": predict_linear,
    "min_over_time": lambda points, *_: min((value for _, value in points), default=None),
    "max_over_time": lambda points, *_: max((value for _, value in points), default=None),
}
"""By name: samples, start and end of the range, further arguments."""
