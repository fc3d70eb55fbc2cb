"""What a source answered for one symbol, and the store of these answers.

A run's answers are stored before anything is made of them, each created only if absent. A retry, or the loser of a
race, goes on from what is stored, so bars, trailers and `fetched_at` are functions of the run.
"""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from fetch_historical.batch_period import Period
from ticklake.errors import ConfigurationError, IntegrityError, StageError
from ticklake.keys import source_answer_key
from ticklake.lineage import ObjectRef
from ticklake.objects import ObjectStore
from ticklake.records import Source, SymbolStatus, iso_ms

_NUMBERS = ("open", "high", "low", "close", "adj_close", "volume", "dividends", "stock_splits")

ROWS = pa.schema([("session_date", pa.date32()), *((name, pa.float64()) for name in _NUMBERS)])
"""Columns of an answer's rows. Any number can be NaN: they are kept as they came."""

_META = b"ticklake"


class Scope(StrEnum):
    """What a missing answer is about."""

    SYMBOL = "symbol"
    """The source is there and rejects this symbol."""
    SOURCE = "source"
    """The source answers nobody just now."""
    UNCLEAR = "unclear"
    """Either; whether it answers for another symbol decides."""


class SourceUnavailableError(StageError):
    """The source gives no answer (rate limit, timeout, server error, rejection): nothing is stored, a retry asks again.

    Args:
        retry_after: seconds that it asks to wait.
    """

    def __init__(self, message: str, *, scope: Scope = Scope.UNCLEAR, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.scope = scope
        self.retry_after = retry_after


@dataclass(frozen=True)
class Action:
    """A split or dividend as the source gave it."""

    day: date
    kind: Literal["dividend", "split"]
    value: float
    """Cash per share, or new shares per old one; NaN where that cannot be computed."""
    currency: str | None
    """Of a dividend, where it says one of its own."""
    original: dict[str, Any]
    """As it came."""


@dataclass(frozen=True)
class Reply:
    """A source's answer for one symbol."""

    status: SymbolStatus
    rows: pa.Table
    """Schema `ROWS`, in the order in which they came."""
    asked_at: datetime
    """Just before the answer was asked for: no session that closed while waiting counts as closed."""
    reason: str = ""
    """Why there are no rows, in the source's own words."""
    reasons: tuple[str, ...] = ()
    """Why the symbol is held, a line each."""
    currency: str | None = None
    """Of the prices, where the source says it."""
    actions: tuple[Action, ...] = ()
    """As they came, where the source gives them apart from the rows."""
    notes: tuple[str, ...] = ()
    """What a person should know, a line each."""
    ended: date | None = None
    """Day of the last trade of a symbol that, as the source says, is no longer traded."""


class DataSource(Protocol):
    """Where daily bars come from."""

    def ask(self, symbol: str, period: Period) -> Reply:
        """The bars of `symbol` in `period`.

        Raises:
            SourceUnavailableError: there is no answer to be had just now.
        """


@dataclass(frozen=True)
class Answer:
    """A reply as it is stored."""

    symbol: str
    source: Source
    status: SymbolStatus
    fetched_at: datetime
    reason: str
    request: dict[str, str]
    """What was asked; the same in every answer of a run."""
    rows: pa.Table
    reasons: tuple[str, ...] = ()
    currency: str | None = None
    actions: tuple[Action, ...] = ()
    notes: tuple[str, ...] = ()
    """Like the reply's."""
    ended: date | None = None
    stored: ObjectRef | None = None
    """The object that it is in; None where it is in none."""

    def to_parquet(self) -> bytes:
        """The answer as one Parquet file, its header as JSON in the schema's metadata."""
        header = {
            "symbol": self.symbol,
            "source": self.source,
            "status": self.status,
            "fetched_at": iso_ms(self.fetched_at),
            "reason": self.reason,
            "request": self.request,
            "reasons": self.reasons,
            "currency": self.currency,
            "notes": self.notes,
            "ended": self.ended and self.ended.isoformat(),
            "actions": [vars(action) | {"day": action.day.isoformat()} for action in self.actions],
        }
        sink = io.BytesIO()
        table = self.rows.replace_schema_metadata({_META: json.dumps(header).encode()})
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue()


def empty_rows() -> pa.Table:
    """No rows, in the schema of an answer."""
    return ROWS.empty_table()


def from_parquet(body: bytes) -> Answer:
    """The answer in `body`.

    Raises:
        ValueError: `body` is not one.
    """
    try:
        table = pq.read_table(io.BytesIO(body))
        header: dict[str, Any] = json.loads(table.schema.metadata[_META])
        return Answer(
            symbol=header["symbol"],
            source=Source(header["source"]),
            status=SymbolStatus(header["status"]),
            fetched_at=datetime.fromisoformat(header["fetched_at"]),
            reason=header["reason"],
            request=header["request"],
            rows=table.replace_schema_metadata(None).cast(ROWS),
            reasons=tuple(header["reasons"]),
            currency=header["currency"],
            notes=tuple(header["notes"]),
            ended=date.fromisoformat(header["ended"]) if header["ended"] else None,
            actions=tuple(
                Action(**action | {"day": date.fromisoformat(action["day"])}) for action in header["actions"]
            ),
        )
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ValueError(f"not a stored answer: {error}") from error


def request_header(source: Source, period: Period, symbols: tuple[str, ...], **further: object) -> dict[str, str]:
    """What a run asks for, small and comparable: a retry of the run must ask for the same."""
    digest = hashlib.sha256(",".join(symbols).encode()).hexdigest()[:16]
    return {
        "source": str(source),
        "first": str(period.first),
        "last": str(period.last),
        "symbols": f"{len(symbols)} ({digest})",
        **{name: str(value) for name, value in further.items()},
    }


@dataclass(frozen=True)
class AnswerStore:
    """The stored answers of one run."""

    store: ObjectStore
    run_id: str
    source: Source
    request: dict[str, str]

    def stored_symbols(self, symbols: tuple[str, ...]) -> set[str]:
        """Which of `symbols` this run has an answer for already."""
        keys = {source_answer_key(self.run_id, symbol): symbol for symbol in symbols}
        prefix = source_answer_key(self.run_id, "").removesuffix(".parquet")
        return {keys[found.key] for found in self.store.list_objects(prefix) if found.key in keys}

    def read(self, symbol: str) -> Answer:
        """The stored answer for `symbol`.

        Raises:
            ConfigurationError: the run asked for something else before.
            IntegrityError: what is stored is not readable.
        """
        key = source_answer_key(self.run_id, symbol)
        try:
            body = self.store.get(key)
            answer = replace(from_parquet(body), stored=_ref(key, symbol, body))
        except KeyError:
            raise IntegrityError(f"{key} has just been there and is gone: who removes objects?") from None
        except ValueError as error:
            raise IntegrityError(f"{key} is damaged ({error}): start a new run") from error
        differing = sorted(name for name in self.request | answer.request if self._differs(answer, name))
        if differing:
            differences = ", ".join(
                f"{name} {answer.request.get(name)}, not {self.request.get(name)}" for name in differing
            )
            raise ConfigurationError(
                f"run {self.run_id} began with {differences}: repeat it as it began, or use a new --run-id"
            )
        return answer

    def _differs(self, answer: Answer, name: str) -> bool:
        return answer.request.get(name) != self.request.get(name)

    def keep(self, symbol: str, ask: Callable[[], Reply]) -> Answer:
        """Ask for `symbol` and store the reply; returns what is stored, which can be another writer's."""
        reply = ask()
        answer = Answer(
            symbol=symbol,
            source=self.source,
            status=reply.status,
            reason=reply.reason,
            request=self.request,
            fetched_at=reply.asked_at.replace(microsecond=reply.asked_at.microsecond // 1000 * 1000),
            rows=reply.rows,
            reasons=reply.reasons,
            currency=reply.currency,
            actions=reply.actions,
            notes=reply.notes,
            ended=reply.ended,
        )
        metadata = {
            "status": str(answer.status),
            "source": str(answer.source),
            "fetched-at": iso_ms(answer.fetched_at),
            "rows": str(answer.rows.num_rows),
        }
        key, body = source_answer_key(self.run_id, symbol), answer.to_parquet()
        if self.store.put_if_absent(key, body, metadata=metadata):
            return replace(answer, stored=_ref(key, symbol, body))
        return self.read(symbol)


def _ref(key: str, symbol: str, body: bytes) -> ObjectRef:
    # Parquet's own footer says how many rows there are.
    rows = pq.read_metadata(io.BytesIO(body)).num_rows
    return ObjectRef(key=key, rows=rows, size=len(body), sha256=hashlib.sha256(body).hexdigest(), symbol=symbol)


def row_dicts(rows: pa.Table) -> list[dict[str, date | float | None]]:
    """The rows as dictionaries, one each."""
    found: list[dict[str, date | float | None]] = rows.to_pylist()
    return found
