"""The archive's ledger: which offsets of the live topic each object in the lake holds, and the chain they form.

Each object holds one contiguous offset range of one partition. Its key is a function of the range's first record and
is written only where there is none, so of two writers that start at the same offset one wins. The ranges of a
partition therefore form a chain without gap or overlap, and the chain's end says where to go on: the store itself is
the record of what was archived. Where a chain starts is written down in the same way before its first range.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ticklake.errors import IntegrityError, StageError
from ticklake.keys import partition_day
from ticklake.objects import ObjectStore
from ticklake.records import UtcMs, reason_of
from ticklake.topics import LiveNames

PARQUET_METADATA = b"ticklake.ledger"
"""Key in the Parquet file's own metadata under which the whole `LedgerRange` is stored as JSON."""

_SPANS_LIMIT = 500
"""Longest text of invalid, and of absent offsets in an object's user metadata, which S3 limits to 2 KB in all."""

_NAME = re.compile(r"/stock_data_(\d{8}_\d{6})_([0-9a-f]{12})_p(\d+)_o(\d{20})\.(parquet|csv)$")


def _parse_spans(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = (part.partition("-") for part in value.split(",") if part)
    return tuple((int(first), int(last or first)) for first, _, last in pairs)


def _with_four_digits(value: object) -> object:
    # Before the bounds of a tick's event time, years below 1000 were written without their zeros.
    return value.zfill(len("2026-01-31T14:30:00.123Z")) if isinstance(value, str) else value


Spans = Annotated[tuple[tuple[int, int], ...], BeforeValidator(_parse_spans)]
"""Offset spans, first and last included; as text `5-7,9`."""


class LedgerRange(BaseModel):
    """What one object holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    topic: str
    topic_id: str
    """The topic's UUID: a topic recreated under the same name has another, and with it a chain of its own."""
    partition: int = Field(ge=0)
    first_offset: int = Field(ge=0)
    last_offset: int = Field(ge=0)
    rows: int = Field(ge=0)
    """Valid ticks."""
    invalid_rows: int = Field(ge=0)
    """Messages that went to quarantine."""
    invalid: Spans | None = None
    """Their offsets; None where an object's user metadata has no room for them (the Parquet file always has)."""
    absent_rows: int = Field(default=0, ge=0)
    """Offsets without a message: marks of transactions, aborted messages, and what compaction or retention removed."""
    absent: Spans | None = ()
    """These offsets, as `invalid`."""
    lost: bool = False
    """Whether retention removed them before they were archived, and a person has accepted that."""
    checksum: str
    """`ledger_table.checksum` of the rows."""
    first_append_time: UtcMs
    """The broker's time of the first record; the object lies under its hour."""
    last_append_time: UtcMs
    least_event_time: Annotated[UtcMs | None, BeforeValidator(_with_four_digits)] = None
    greatest_event_time: Annotated[UtcMs | None, BeforeValidator(_with_four_digits)] = None

    @model_validator(mode="after")
    def _counts_fill_the_range(self) -> Self:
        length = self.last_offset - self.first_offset + 1
        if length < 1 or self.rows + self.invalid_rows + self.absent_rows != length:
            raise ValueError(
                f"{self.rows} rows, {self.invalid_rows} invalid and {self.absent_rows} absent "
                f"do not make {length} offsets"
            )
        for kind, own, count in (
            ("invalid", self.invalid, self.invalid_rows),
            ("absent", self.absent, self.absent_rows),
        ):
            before = self.first_offset - 1
            for first, last in own or ():
                if not before < first <= last <= self.last_offset:
                    raise ValueError(f"{kind} offsets {first}-{last} are not in order inside the range")
                before = last
            if own is not None and sum(last - first + 1 for first, last in own) != count:
                raise ValueError(f"{kind} offsets and their count differ")
        return self

    def user_metadata(self) -> dict[str, str]:
        """The range as S3 user metadata, well under 2 KB."""
        values = self.model_dump(mode="json", exclude={"invalid", "absent"}, exclude_none=True)
        metadata = {name.replace("_", "-"): str(value) for name, value in values.items()}
        for name, own in (("invalid", self.invalid), ("absent", self.absent)):
            text = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in own or ())
            if text and len(text) <= _SPANS_LIMIT:
                metadata[name] = text
        return metadata

    @classmethod
    def from_user_metadata(cls, metadata: dict[str, str], key: str) -> "LedgerRange":
        """The range that `user_metadata` wrote.

        Raises:
            IntegrityError: the metadata is missing, damaged or says otherwise than the object's key.
        """
        values: dict[str, object] = {name.replace("-", "_"): value for name, value in metadata.items()}
        for name in ("invalid", "absent"):
            values.setdefault(name, "" if values.get(f"{name}_rows", "0") == "0" else None)
        try:
            found = cls.model_validate(values | {"schema_version": int(metadata.get("schema-version", "0"))})
        except ValueError as error:
            reason = reason_of(error) if isinstance(error, ValidationError) else error
            raise IntegrityError(f"{key} has no readable ledger metadata: {reason}") from error
        at = RangeKey.parse(key)
        if at is None or (at.topic_id, at.partition, at.first_offset) != (
            short_id(found.topic_id),
            found.partition,
            found.first_offset,
        ):
            raise IntegrityError(f"{key} holds {found.topic_id} p{found.partition} from {found.first_offset}")
        return found


@dataclass(frozen=True, order=True)
class RangeKey:
    """An object's range, as in its key."""

    partition: int
    first_offset: int
    topic_id: str
    """First twelve hex digits of the topic's id."""
    time: datetime
    """The broker's time of the first record, whole seconds, UTC."""
    key: str

    @classmethod
    def parse(cls, key: str) -> "RangeKey | None":
        """None for a key that is not the archive's."""
        found = _NAME.search(key)
        if found is None:
            return None
        time = datetime.strptime(found[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
        return cls(int(found[3]), int(found[4]), found[2], time, key)


def short_id(topic_id: str) -> str:
    """The part of a topic's id that is used in keys."""
    return topic_id.replace("-", "").lower()[:12]


def hour_prefix(live: LiveNames, hour: datetime) -> str:
    """Folder of an hour, with its trailing slash."""
    return f"{partition_day(live.raw_prefix, hour.date())}/hour={hour:%H}/"


def range_key(live: LiveNames, topic_id: str, partition: int, first_offset: int, append_time: datetime) -> str:
    """Key of the Parquet object whose first record has this offset and broker time."""
    time = append_time.astimezone(UTC)
    name = f"stock_data_{time:%Y%m%d_%H%M%S}_{short_id(topic_id)}_p{partition}_o{first_offset:020d}.parquet"
    return hour_prefix(live, time) + name


class ChainStart(BaseModel):
    """Where a partition's chain starts: the first message that was archived of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic_id: str
    partition: int = Field(ge=0)
    first_offset: int = Field(ge=0)
    first_append_time: UtcMs


def chain_start_key(live: LiveNames, topic_id: str, partition: int) -> str:
    """Key of the object that says where a partition's chain starts, beside the folders of the years."""
    return f"{live.raw_prefix}/_chain_start_{short_id(topic_id)}_p{partition}.json"


def claim_chain_start(store: ObjectStore, key: str, start: ChainStart) -> ChainStart:
    """Let the chain start at `start`, unless `key` says that it has a start already; returns the one that counts.

    Two writers that find no chain may find different beginnings of the log, as retention moves it, and so would write
    first ranges under different keys.

    Raises:
        StageError: the store failed; the same call may be repeated at any time.
        IntegrityError: what is there cannot be read.
    """
    if store.put_if_absent(key, start.model_dump_json().encode()):
        return start
    found = read_chain_start(store, key, start.topic_id, start.partition)
    if found is None:
        # A store may answer "conflict" while another write is under way, and that one may yet fail.
        raise StageError(f"the write of {key} met another one")
    return found


def read_chain_start(store: ObjectStore, key: str, topic_id: str, partition: int) -> ChainStart | None:
    """Where a partition's chain starts, None where nobody has begun one.

    Raises:
        IntegrityError: its object is damaged or of another topic.
    """
    try:
        found = ChainStart.model_validate_json(store.get(key))
    except KeyError:
        return None
    except ValidationError as error:
        raise IntegrityError(f"{key} is no start of a chain: {reason_of(error)}") from error
    if (found.topic_id, found.partition) != (topic_id, partition):
        raise IntegrityError(f"{key} belongs to topic {found.topic_id} partition {found.partition}")
    return found


def csv_key(parquet_key: str) -> str:
    """Key of the CSV copy."""
    return parquet_key.removesuffix(".parquet") + ".csv"


def read_range(store: ObjectStore, key: str) -> LedgerRange | None:
    """What the object at `key` holds, None where there is none.

    Raises:
        IntegrityError: its metadata is unreadable or contradicts its key.
    """
    metadata = store.metadata(key)
    return None if metadata is None else LedgerRange.from_user_metadata(metadata, key)


def hours(store: ObjectStore, live: LiveNames) -> Iterator[str]:
    """Folders of the hours that have objects, newest first, each with its trailing slash."""

    def below(folder: str, depth: int) -> Iterator[str]:
        for child in reversed(store.folders(folder)):
            if depth == 1:
                yield child
            else:
                yield from below(child, depth - 1)

    return below(f"{live.raw_prefix}/", 4)


def hour_of(folder: str) -> datetime:
    """The hour of a folder that `hours` gave."""
    return datetime.strptime("".join(re.findall(r"=(\d+)", folder)), "%Y%m%d%H").replace(tzinfo=UTC)


def keys_in_hour(store: ObjectStore, folder: str, topic_id: str) -> tuple[list[RangeKey], set[str]]:
    """The topic's ranges in an hour's folder, by partition and first offset, and the keys of their CSV copies."""
    short, ranges, copies = short_id(topic_id), [], set()
    for found in store.list_objects(folder):
        parsed = RangeKey.parse(found.key)
        if parsed is None or parsed.topic_id != short:
            continue
        if found.key.endswith(".csv"):
            copies.add(found.key)
        else:
            ranges.append(parsed)
    return sorted(ranges), copies


def chain_ends(
    store: ObjectStore, live: LiveNames, topic_id: str, oldest: dict[int, datetime | None]
) -> dict[int, LedgerRange | IntegrityError]:
    """The last range of each partition's chain, or why it cannot be read; a partition without a chain is left out.

    Looks at the newest hours first, one listing each, and stops one hour after it found every partition: brokers whose
    clocks differ a little can file a later offset under an earlier hour. Nothing depends on finding the very last one,
    as a writer that starts at an earlier link of the chain meets the next link's key and goes on after it.

    Args:
        oldest: the partitions asked for, each with the time before which its chain cannot end, None if unknown.
    """
    newest: dict[int, RangeKey] = {}
    settled = False
    for folder in hours(store, live):
        end_of_hour = hour_of(folder) + timedelta(hours=2)
        open_ = [p for p, limit in oldest.items() if p not in newest and (limit is None or limit < end_of_hour)]
        if not open_ and settled:
            break
        settled = not open_
        for found in keys_in_hour(store, folder, topic_id)[0]:
            if found.partition in oldest and found >= newest.get(found.partition, found):
                newest[found.partition] = found
    return {partition: _end(store, found.key, topic_id) for partition, found in newest.items()}


def _end(store: ObjectStore, key: str, topic_id: str) -> LedgerRange | IntegrityError:
    try:
        end = read_range(store, key)
    except IntegrityError as error:
        return error
    if end is None or end.topic_id != topic_id:
        return IntegrityError(f"{key} is listed, but is no range of topic {topic_id}")
    return end


def check_chain(ranges: Sequence[LedgerRange]) -> None:
    """Check that the ranges of one partition, in order, have neither gap nor overlap.

    Raises:
        IntegrityError: they have; the message names the offsets.
    """
    for before, after in itertools.pairwise(ranges):
        where = f"{after.topic} partition {after.partition}"
        if after.first_offset > before.last_offset + 1:
            raise IntegrityError(f"{where}: offsets {before.last_offset + 1}-{after.first_offset - 1} are missing")
        if after.first_offset <= before.last_offset:
            raise IntegrityError(f"{where}: offsets {after.first_offset}-{before.last_offset} are archived twice")


def verify_chain(store: ObjectStore, live: LiveNames, topic_id: str) -> dict[int, tuple[LedgerRange, ...]]:
    """Every partition's ranges in order, found by listing the whole archive and reading each object's metadata.

    Raises:
        IntegrityError: a chain has a gap or an overlap, or an object's metadata is damaged.
    """
    found: dict[int, list[LedgerRange]] = {}
    for folder in hours(store, live):
        for key in keys_in_hour(store, folder, topic_id)[0]:
            entry = read_range(store, key.key)
            if entry is None:
                raise IntegrityError(f"{key.key} is listed, but gone")
            found.setdefault(entry.partition, []).append(entry)
    chains = {p: tuple(sorted(ranges, key=lambda r: r.first_offset)) for p, ranges in sorted(found.items())}
    for ranges in chains.values():
        check_chain(ranges)
    return chains


def spans(offsets: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Ascending offsets as spans of neighbours."""
    result: list[tuple[int, int]] = []
    for offset in offsets:
        if result and result[-1][1] == offset - 1:
            result[-1] = (result[-1][0], offset)
        else:
            result.append((offset, offset))
    return tuple(result)
