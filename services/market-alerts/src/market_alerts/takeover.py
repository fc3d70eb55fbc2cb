"""What a new owner of partitions begins with: where to read on, the saved state, and what was told of already."""

from collections.abc import Sequence
from typing import NamedTuple

from market_alerts import state
from market_alerts.made import Known
from market_alerts.partition import Partition
from market_alerts.reader import Position, Reader
from market_alerts.rules import Rule
from market_alerts.settings import AlertSettings


class Takeover(NamedTuple):
    """Partitions that can be read from their `next_offset` on."""

    partitions: list[Partition]
    restored: int
    """Series that had a saved state."""


def take_over(
    settings: AlertSettings, reader: Reader, topic_id: str, rules: Sequence[Rule], numbers: Sequence[int]
) -> Takeover:
    """Partitions as their last owner committed them, with the state from then.

    Raises:
        StageError: the broker does not answer.
    """
    kafka, live, options = settings.kafka, settings.live.names, settings.alerts
    # Before the ends of the partitions: what stands on the alerts topic by now came of ticks before those.
    alerts_end = state.alerts_end(kafka, live)
    begins = {number: reader.locate(number, options.warm_up_minutes * 60) for number in numbers}
    places = [begin.position.alerts_from for begin in begins.values() if begin.position.alerts_from is not None]
    known = state.known_alerts(kafka, live, min(places)) if places else Known()
    partitions = [
        Partition(
            number, topic_id, rules, int(options.lateness_seconds * 1000), settings.future_tolerance_ms,
            next_offset=begin.position.offset, silent_until=begin.position.silent_until, catch_up_until=begin.end,
            known=known,
            alerts_from=alerts_end if begin.position.alerts_from is None else begin.position.alerts_from,
        )
        for number, begin in begins.items()
    ]  # fmt: skip
    restored = state.restore(kafka, live, topic_id, partitions)
    # From here on a crash does not make ticks silent that come after this start.
    first = [each for each in partitions if begins[each.number].first_start]
    if first:
        reader.commit({each.number: position(each) for each in first}, kafka.timeout_seconds)
    return Takeover(partitions, restored)


def position(partition: Partition) -> Position:
    """What is committed of a partition."""
    return Position(partition.next_offset, partition.alerts_from, partition.silent_until)
