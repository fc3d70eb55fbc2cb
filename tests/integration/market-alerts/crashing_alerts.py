"""market-alerts that kills itself (SIGKILL, so nothing is tidied up) at a point named by the first argument.

`alert`: alerts are confirmed by the broker, their ticks neither in the saved state nor committed. `half`: of several
alerts the first ones are. `state`: the state is saved, the offset not committed. `commit`: the offset is committed.
While new rules are put in force: `before-rules`: the state under the old ones is saved and committed. `withdrawn`: what
they had raised is withdrawn on the topic, which no saved state knows of. `after-rules`: that is saved, not committed.
With `deaf` it stays alive, but the answer to its first join is lost.
"""

import os
import signal
import sys
from collections.abc import Collection
from functools import partial
from typing import Any

from kafka import TopicPartition

from market_alerts import service
from market_alerts.alert_events import AlertEvent, Withdrawal
from market_alerts.evaluation import PartitionEvaluator
from market_alerts.publisher import AlertPublisher
from market_alerts.reader import TickReader
from market_alerts.service import run
from market_alerts.settings import AlertSettings
from ticklake import group_consumer
from ticklake.kafka import make_consumer
from ticklake.service import service_main

BATCH = 40
"""Messages at a time, so that a catching up takes many steps and can be cut in the middle."""
SENDS = 4
"""How many times alerts go out before the end."""

send, commit, take = AlertPublisher._publish, TickReader.commit, TickReader.on_partitions_assigned
adopt = PartitionEvaluator.apply_rules
sent: list[int] = []


def die() -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def send_and_die(self: AlertPublisher, new: list[AlertEvent | Withdrawal]) -> None:
    send(self, new)
    sent.append(len(new))
    if len(sent) == SENDS:
        die()


def send_half_and_die(self: AlertPublisher, new: list[AlertEvent | Withdrawal]) -> None:
    send(self, new[: max(1, len(new) // 2)])
    die()


def die_instead(self: TickReader, positions: Any, seconds: float) -> None:
    # The first commit of a first start is before any tick.
    die() if any(position.offset for position in positions.values()) else commit(self, positions, seconds)


def lose_first(self: TickReader, assigned: Collection[TopicPartition]) -> None:
    sent.append(len(assigned))
    if len(sent) > 1:
        take(self, assigned)


def commit_and_die(self: TickReader, positions: Any, seconds: float) -> None:
    commit(self, positions, seconds)
    if any(position.offset for position in positions.values()):
        die()


def die_before_adopting(self: PartitionEvaluator, rules: Any) -> None:
    del self, rules
    die()


def withdraw_and_die(self: AlertPublisher, new: list[AlertEvent | Withdrawal]) -> None:
    send(self, new)
    if any(isinstance(each, Withdrawal) for each in new):
        die()


def adopt_and_die_at_the_commit(self: PartitionEvaluator, rules: Any) -> None:
    adopt(self, rules)
    TickReader.commit = lambda *_: die()  # type: ignore[method-assign]


if __name__ == "__main__":
    point = sys.argv[1]
    setattr(group_consumer, "make_consumer", partial(make_consumer, max_poll_records=BATCH))  # noqa: B010 - for mypy
    if point == "deaf":
        service._JOIN_SECONDS = 3.0
        TickReader.on_partitions_assigned = lose_first  # type: ignore[method-assign]
    elif point in ("alert", "half"):
        AlertPublisher._publish = send_and_die if point == "alert" else send_half_and_die  # type: ignore[method-assign,assignment]
    elif point == "before-rules":
        PartitionEvaluator.apply_rules = die_before_adopting  # type: ignore[method-assign]
    elif point == "withdrawn":
        AlertPublisher._publish = withdraw_and_die  # type: ignore[method-assign,assignment]
    elif point == "after-rules":
        PartitionEvaluator.apply_rules = adopt_and_die_at_the_commit  # type: ignore[method-assign]
    else:
        TickReader.commit = die_instead if point == "state" else commit_and_die  # type: ignore[method-assign]
    service_main("market-alerts", AlertSettings, run, [])
