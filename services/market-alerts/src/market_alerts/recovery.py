"""Recovery: what a new owner of partitions starts from: the committed offset, the saved state, the published alerts."""

from collections.abc import Sequence
from typing import NamedTuple

from market_alerts import active_alerts
from market_alerts.active_alerts import PublishedAlerts
from market_alerts.evaluation import PartitionEvaluator
from market_alerts.reader import Position, TickReader
from market_alerts.rules import Rule
from market_alerts.settings import AlertSettings
from market_alerts.state_topic import restore_state


class Recovered(NamedTuple):
    """Partitions that can be read from their `next_offset` on."""

    partitions: list[PartitionEvaluator]
    restored: int
    """Series that had a saved state."""


def recover(
    settings: AlertSettings, reader: TickReader, topic_id: str, rules: Sequence[Rule], numbers: Sequence[int]
) -> Recovered:
    """Partitions as their last owner committed them, with the state from then.

    Raises:
        StageError: the broker does not answer.
    """
    kafka, live, options = settings.kafka, settings.live.names, settings.alerts
    # Before the ends of the partitions: what is on the alerts topic by now came of ticks before those.
    alerts_end = active_alerts.alerts_end(kafka, live)
    starts = {number: reader.start_position(number, options.warm_up_minutes * 60) for number in numbers}
    places = [start.position.alerts_from for start in starts.values() if start.position.alerts_from is not None]
    published = active_alerts.read_published(kafka, live, min(places)) if places else PublishedAlerts()
    partitions = [
        PartitionEvaluator(
            number,
            topic_id,
            rules,
            int(options.lateness_seconds * 1000),
            settings.live.future_tolerance,
            next_offset=start.position.offset,
            silent_until=start.position.silent_until,
            catch_up_until=start.end,
            published=published,
            alerts_from=alerts_end if start.position.alerts_from is None else start.position.alerts_from,
        )
        for number, start in starts.items()
    ]
    restored = restore_state(kafka, live, topic_id, partitions)
    # From here on a crash does not make ticks silent that come after this start.
    first = [each for each in partitions if starts[each.number].first_start]
    if first:
        reader.commit({each.number: position(each) for each in first}, kafka.timeout_seconds)
    return Recovered(partitions, restored)


def position(partition: PartitionEvaluator) -> Position:
    """What is committed of a partition."""
    return Position(partition.next_offset, partition.alerts_from, partition.silent_until)
