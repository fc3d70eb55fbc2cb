"""Puts one batch together from messages in any mix, and says whether it is whole."""

import itertools
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ticklake.errors import IntegrityError
from ticklake.records import BatchMessage, BatchTrailer, DailyBar, batch_checksum, iso_ms, reason_of
from ticklake.tables import BAR_COLUMNS

_ADAPTER: TypeAdapter[DailyBar | BatchTrailer] = TypeAdapter(BatchMessage)

Row = tuple[Any, ...]
"""A bar's values in the order of `tables.BAR_COLUMNS`, times as text."""

_DAY = next(place for place, column in enumerate(BAR_COLUMNS) if column.name == "session_date")
_HASH = next(place for place, column in enumerate(BAR_COLUMNS) if column.name == "row_hash")


class InvalidMessageError(Exception):
    """The message is no record of the batch topic; its text says why."""


def parse(value: bytes | None, key: bytes | None) -> DailyBar | BatchTrailer:
    """The record in a message.

    Strict: a number in quotes or a volume with a fraction is rejected, not converted.

    Raises:
        InvalidMessageError: it is none.
    """
    if value is None:
        raise InvalidMessageError("no value")
    try:
        record = _ADAPTER.validate_json(value, strict=True)
    except ValidationError as error:
        raise InvalidMessageError(reason_of(error)) from error
    if key != record.symbol.encode():
        raise InvalidMessageError(f"the message key is not the symbol {record.symbol}")
    return record


def row_of(bar: DailyBar) -> Row:
    """The bar as a row of the raw CSV, its hash computed here and not taken from anywhere."""
    values = dict(bar) | {
        "session_date": bar.session_date.isoformat(),
        "source": bar.source.value,
        "batch_date": bar.batch_date.isoformat(),
        "fetched_at": iso_ms(bar.fetched_at),
        "row_hash": bar.row_hash(),
    }
    return tuple(values[column.name] for column in BAR_COLUMNS)


@dataclass(frozen=True)
class SymbolBatch:
    """One symbol's part of a whole batch."""

    trailer: BatchTrailer
    rows: tuple[Row, ...]
    """In the order of their sequence."""
    checksum: str
    """Recomputed from the rows."""


@dataclass
class Assembly:
    """The messages of batch `batch_id` so far; each identity counts once."""

    batch_id: str
    rows: dict[str, dict[int, Row]] = field(default_factory=dict)
    trailers: dict[str, BatchTrailer] = field(default_factory=dict)
    repeated: int = 0
    """Messages that came more than once, as a retried sender makes them."""
    foreign: int = 0
    """Messages of other batches."""

    def take(self, record: DailyBar | BatchTrailer) -> None:
        """Take in one record.

        Raises:
            IntegrityError: another record has had the same identity with other content.
        """
        if record.batch_id != self.batch_id:
            self.foreign += 1
            return
        known: object
        new: object
        if isinstance(record, DailyBar):
            mine, new = self.rows.setdefault(record.symbol, {}), row_of(record)
            known = mine.get(record.sequence)
            mine.setdefault(record.sequence, new)
        else:
            known, new = self.trailers.get(record.symbol), record
            self.trailers.setdefault(record.symbol, record)
        if known is None:
            return
        if known != new:
            kind = "bar" if isinstance(record, DailyBar) else "trailer"
            raise IntegrityError(
                f"batch {self.batch_id}: {record.symbol} has two different messages for {kind} {record.sequence}: "
                "two senders share the run id, start a new run"
            )
        self.repeated += 1

    def finish(self) -> dict[str, SymbolBatch]:
        """The whole batch, in the order of its symbols.

        Raises:
            IntegrityError: a trailer or bars are missing, or counts or checksums do not agree; all of it is named.
        """
        if not self.trailers:
            raise IntegrityError(f"batch {self.batch_id}: no trailer has come, so what belongs to it is not known")
        symbols = next(iter(self.trailers.values())).batch_symbols
        problems: list[str] = []
        strangers = (self.rows.keys() | self.trailers.keys()) - set(symbols)
        if strangers or any(trailer.batch_symbols != symbols for trailer in self.trailers.values()):
            problems.append(
                f"its trailers name different symbols ({', '.join(sorted(strangers)) or 'order or number'})"
            )
        whole: dict[str, SymbolBatch] = {}
        for symbol in symbols:
            trailer = self.trailers.get(symbol)
            found = self.rows.get(symbol, {})
            if trailer is None:
                problems.append(f"{symbol} has {len(found)} bars and no trailer")
                continue
            rows = tuple(found[number] for number in sorted(found))
            checksum = batch_checksum(row[_HASH] for row in rows)
            problem = _disagreement(trailer, found, rows, checksum)
            if problem:
                problems.append(f"{symbol} {problem}")
            whole[symbol] = SymbolBatch(trailer, rows, checksum)
        if problems:
            more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise IntegrityError(f"batch {self.batch_id} is not whole: {'; '.join(problems[:5])}{more}")
        return whole


def _disagreement(trailer: BatchTrailer, found: dict[int, Row], rows: tuple[Row, ...], checksum: str) -> str | None:
    """How one symbol's bars differ from what its trailer promises, None where they do not."""
    missing = sorted(set(range(trailer.row_count)) - found.keys())
    if missing or len(rows) != trailer.row_count:
        which = f", the first missing is number {missing[0]}" if missing else ""
        return f"has {len(rows)} bars where its trailer counts {trailer.row_count}{which}"
    if checksum != trailer.checksum:
        return "has bars whose checksum is not its trailer's"
    days = [date.fromisoformat(row[_DAY]) for row in rows]
    if any(later <= earlier for earlier, later in itertools.pairwise(days)):
        return "has sessions out of order"
    return None
