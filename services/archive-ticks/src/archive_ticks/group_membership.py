"""The archive's group as the broker sees it: is this member what it takes itself for, and has every partition an owner?

The client library can lose its place in the group without noticing: when it rejoins because the topic's partitions
changed (or were not known at first), and the answer comes after the `poll` that waits for it has ended, the answer is
dropped and never asked for again. Only a look from outside shows it.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ticklake.errors import StageError
from ticklake.kafka import admin, translated_errors
from ticklake.settings import KafkaSettings
from ticklake.topics import LiveNames

GRACE_SECONDS = 5.0
"""How long a settled group may be wrong: a member reads the answer to its join a moment after the broker gave it."""
_MOST_GRACE_SECONDS = 60.0
_SETTLED = frozenset({"Stable", "Empty", "Dead"})
"""States of a group in which nobody joins; Dead is also that of a group that was never there."""


@dataclass(frozen=True)
class Group:
    """What the broker has of the group."""

    settled: bool
    """Whether no rebalance is under way."""
    partitions: frozenset[int]
    """All of the topic's."""
    owned: Mapping[str, frozenset[int]]
    """Partitions by member id; a member to spare has none. Of a group that is not settled it says nothing."""


class GroupDescriber:
    """Asks the broker for the archive's group, by a client that is kept as long as it gets answers.

    A new client for each question would ask for the brokers and sign in each time, every few seconds.
    """

    def __init__(self, kafka: KafkaSettings, live: LiveNames) -> None:
        self._kafka, self._live = kafka, live
        self._open = ExitStack()
        self._client: Any = None

    def close(self) -> None:
        """Close the connections."""
        self._client = None
        self._open.close()

    def describe(self) -> Group:
        """The group by now.

        Raises:
            StageError: the broker does not answer, or does not know the group's coordinator yet.
        """
        try:
            if self._client is None:
                self._client = self._open.enter_context(admin(self._kafka))
            with translated_errors(self._kafka, f"describe the group {self._live.archive_group}"):
                return _group(self._client, self._live)
        except StageError:
            self.close()
            raise


def _group(client: Any, live: LiveNames) -> Group:
    found = client.describe_groups([live.archive_group])[live.archive_group]
    topics = client.describe_topics([live.topic])
    if found["error"] and found["group_state"] != "Dead":
        raise StageError(f"Kafka does not describe the group {live.archive_group}: {found['error']}")
    settled = found["group_state"] in _SETTLED
    return Group(
        settled,
        frozenset(part["partition_index"] for topic in topics for part in topic["partitions"]),
        {m["member_id"]: _partitions(m["member_assignment"], live.topic) for m in found["members"]} if settled else {},
    )


def _partitions(assignment: Mapping[str, Any] | None, topic: str) -> frozenset[int]:
    parts = assignment["assigned_partitions"] if assignment else ()  # a member that the leader left out has none
    return frozenset(number for part in parts if part["topic"] == topic for number in part["partitions"])


class Membership:
    """Decides from the broker's description of the group whether all is well, and when to rejoin.

    A member to spare is in its place. The grace doubles with each rejoin, up to a minute, so that a machine too
    slow to join within it gets there all the same; a group in order ends that.
    """

    def __init__(self) -> None:
        self.whole = False
        """Whether, when last asked, the group was settled, this member in its place, and every partition owned."""
        self._wrong_since: float | None = None
        self._grace = GRACE_SECONDS

    def fault(self, group: Group, member: str, reads: frozenset[int] | None, now: float | None = None) -> str | None:
        """What has been wrong for longer than the grace, None while there is nothing to do.

        Args:
            member: this member's id.
            reads: the partitions that were assigned to it as far as it knows, None while it waits for them.
            now: monotonic clock in seconds; by default the time of the call.
        """
        wrong = _wrong(group, member, reads) if group.settled else None
        self.whole = group.settled and wrong is None
        if wrong is None:
            self._wrong_since = None
            if self.whole:
                self._grace = GRACE_SECONDS
            return None
        now = time.monotonic() if now is None else now
        if self._wrong_since is None:
            self._wrong_since = now
        if now - self._wrong_since < self._grace:
            return None
        self._wrong_since, self._grace = None, min(2 * self._grace, _MOST_GRACE_SECONDS)
        return wrong


def _wrong(group: Group, member: str, reads: frozenset[int] | None) -> str | None:
    if member not in group.owned:
        return "the broker does not count this process among the group's members"
    if reads is None:
        return "the broker has assigned partitions to this process, which never got to know of it"
    if reads != group.owned[member]:
        return f"this process reads partitions {sorted(reads)}, by the broker's account {sorted(group.owned[member])}"
    unowned = group.partitions.difference(*group.owned.values())
    return f"partitions {sorted(unowned)} have no owner" if unowned else None
