"""What the tables of live data record: up to which offsets of the archive's ledger a flow is in them.

Each commit has a note among its snapshot's properties, so that note and rows take effect together, or not at all.
"""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from ticklake.catalog import LakeTables, matching
from ticklake.errors import StageError
from ticklake.records import UtcMs
from ticklake.tables import TICKS, IcebergTable

LEDGER = "ticklake.ledger"
"""Property of a snapshot: a `Note` as JSON."""


class End(BaseModel):
    """Where a partition's chain goes on."""

    model_config = ConfigDict(frozen=True)

    offset: int
    """The first that is not in the table."""
    append_time: UtcMs
    """The broker's time of the record before it."""


Ends = dict[str, dict[int, End]]
"""By topic id and partition."""


class Note(BaseModel):
    """What a commit covers."""

    model_config = ConfigDict(frozen=True)

    flow: str
    ends: Ends = {}
    """Of this commit and of all before it."""
    covers: dict[str, dict[int, tuple[int, int]]] = {}
    """First and last offset that this commit covers, by topic id and partition."""
    hours: tuple[UtcMs, ...] = ()
    """Hours of event time that this commit has ticks of."""
    until: UtcMs | None = None
    """Of bars: the end of the latest hour of arrival whose ticks are in them."""
    first: bool = False
    """Whether the flow had nothing in the table before."""

    def properties(self) -> dict[str, str]:
        """Of the snapshot."""
        return {LEDGER: self.model_dump_json(exclude_defaults=True)}


def notes(
    tables: LakeTables, namespace: str, table: IcebergTable, flow: str, snapshot: int | None = None
) -> list[Note]:
    """A flow's notes, newest first, as far as the table's snapshots are kept."""
    texts = (each[LEDGER] for each in tables.properties(namespace, table, snapshot) if LEDGER in each)
    return [note for note in map(Note.model_validate_json, texts) if note.flow == flow]


def ends_of_ticks(tables: LakeTables, namespace: str, flow: str) -> Ends:
    """Up to where the ledger is in the table `ticks`: by its notes, or by its rows where those have expired."""
    if found := notes(tables, namespace, TICKS, flow):
        return found[0].ends
    columns = ("topic_id", "partition", "offset", "append_time")
    rows = tables.read(namespace, TICKS, matching(flow=[flow]), columns)
    last = rows.group_by(["topic_id", "partition"]).aggregate([("offset", "max"), ("append_time", "max")])
    ends: Ends = {}
    for row in last.to_pylist():
        end = End(offset=row["offset_max"] + 1, append_time=row["append_time_max"])
        ends.setdefault(row["topic_id"], {})[row["partition"]] = end
    return ends


def merged(ends: Ends, more: Ends) -> Ends:
    """`ends` with those of `more` in their places."""
    return {topic: {**ends.get(topic, {}), **more.get(topic, {})} for topic in dict.fromkeys([*ends, *more])}


def least(all_ends: Iterable[Ends]) -> Ends:
    """Of each partition the smallest end; only of partitions that all have one."""
    first, *others = all_ends
    return {
        topic: {
            partition: min([end, *(each[topic][partition] for each in others)], key=lambda found: found.offset)
            for partition, end in own.items()
            if all(partition in each.get(topic, {}) for each in others)
        }
        for topic, own in first.items()
    }


def unmoved(
    tables: LakeTables, namespace: str, table: IcebergTable, flow: str, known: Note | None, snapshot: int | None
) -> None:
    """Check that no other run has taken the flow further in the table, as of `snapshot` (None: as it is now).

    Raises:
        StageError: it has.
    """
    found = notes(tables, namespace, table, flow, snapshot)
    if (found[0] if found else None) != known:
        raise StageError(f"another run changed {namespace}.{table.name} meanwhile; try again")
