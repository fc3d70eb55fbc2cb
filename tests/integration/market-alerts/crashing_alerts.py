"""market-alerts that kills itself (SIGKILL, so nothing is tidied up) at a point named by the first argument.

`alert`: alerts are confirmed by the broker, their ticks neither in the saved state nor committed. `half`: of several
alerts the first ones are. `state`: the state is saved, the offset not committed. `commit`: the offset is committed.
While new rules are put in force: `turn`: the state under the old ones is saved and committed. `withdrawn`: what they
had raised is withdrawn on the topic, which no saved state knows of. `turned`: that is saved, not committed.
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
from market_alerts.made import Made, Withdrawn
from market_alerts.partition import Partition
from market_alerts.reader import Reader
from market_alerts.sending import Sending
from market_alerts.service import run
from market_alerts.settings import AlertSettings
from ticklake import group_consumer
from ticklake.batch_stage import service_main
from ticklake.kafka import make_consumer

BATCH = 40
"""Messages at a time, so that a catching up takes many steps and can be cut in the middle."""
SENDS = 4
"""How many times alerts go out before the end."""

send, commit, take = Sending._send, Reader.commit, Reader.on_partitions_assigned
adopt = Partition.adopt
sent: list[int] = []


def die() -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def send_and_die(self: Sending, new: list[Made | Withdrawn]) -> None:
    send(self, new)
    sent.append(len(new))
    if len(sent) == SENDS:
        die()


def send_half_and_die(self: Sending, new: list[Made | Withdrawn]) -> None:
    send(self, new[: max(1, len(new) // 2)])
    die()


def die_instead(self: Reader, positions: Any, seconds: float) -> None:
    # The first commit of a first start is before any tick.
    die() if any(position.offset for position in positions.values()) else commit(self, positions, seconds)


def lose_first(self: Reader, assigned: Collection[TopicPartition]) -> None:
    sent.append(len(assigned))
    if len(sent) > 1:
        take(self, assigned)


def commit_and_die(self: Reader, positions: Any, seconds: float) -> None:
    commit(self, positions, seconds)
    if any(position.offset for position in positions.values()):
        die()


def die_before_adopting(self: Partition, rules: Any) -> None:
    del self, rules
    die()


def withdraw_and_die(self: Sending, new: list[Made | Withdrawn]) -> None:
    send(self, new)
    if any(isinstance(each, Withdrawn) for each in new):
        die()


def adopt_and_die_at_the_commit(self: Partition, rules: Any) -> None:
    adopt(self, rules)
    Reader.commit = lambda *_: die()  # type: ignore[method-assign]


if __name__ == "__main__":
    point = sys.argv[1]
    setattr(group_consumer, "make_consumer", partial(make_consumer, max_poll_records=BATCH))  # noqa: B010 - for mypy
    if point == "deaf":
        service._JOIN_SECONDS = 3.0
        Reader.on_partitions_assigned = lose_first  # type: ignore[method-assign]
    elif point in ("alert", "half"):
        Sending._send = send_and_die if point == "alert" else send_half_and_die  # type: ignore[method-assign,assignment]
    elif point == "turn":
        Partition.adopt = die_before_adopting  # type: ignore[method-assign]
    elif point == "withdrawn":
        Sending._send = withdraw_and_die  # type: ignore[method-assign,assignment]
    elif point == "turned":
        Partition.adopt = adopt_and_die_at_the_commit  # type: ignore[method-assign]
    else:
        Reader.commit = die_instead if point == "state" else commit_and_die  # type: ignore[method-assign]
    service_main("market-alerts", AlertSettings, run, [])
