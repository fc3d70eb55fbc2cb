"""What is expected of a batch as a whole, and how a validation stage says that it is not so.

Single rows are judged where they are read (`records`, `quality`); here are the limits for shares and counts, which a
source can break while every row of it is in order.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from pydantic import Field
from pydantic_settings import BaseSettings

from ticklake import lineage, logs
from ticklake.batch_stage import Stopwatch, stage_record
from ticklake.errors import ConfigurationError
from ticklake.lineage import CheckResult, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import Stage
from ticklake.quality import NOISE
from ticklake.records import SymbolStatus, batch_checksum
from ticklake.settings import settings_config

log = logs.get(__name__)

_NAMED = 5


class QualitySettings(BaseSettings):
    """The limits (`TICKLAKE_QUALITY_…`); shares are fractions of 1."""

    model_config = settings_config("TICKLAKE_QUALITY_")

    max_failed_symbols: float = Field(default=0.1, ge=0, le=1)
    """Share of the symbols asked for that may bring no rows or be held; above it the run fails."""
    max_stale_sessions: int = Field(default=1, ge=0)
    """Sessions that a symbol's last bar may lie behind the last one up to the batch's date."""
    max_missing_sessions: float = Field(default=0.02, ge=0, le=1)
    """Share of a symbol's sessions between its first and last that it may lack."""
    max_quarantined: float = Field(default=0.05, ge=0, le=1)
    """Share of a symbol's fetched rows that may be in quarantine."""
    max_daily_move: float = Field(default=0.8, gt=0)
    """Relative change of the adjusted close from one session to the next above which it is taken for an error, unless
    volume or the following sessions support it."""
    max_revised: float = Field(default=0.1, ge=0, le=1)
    """Share of a symbol's known sessions that an answer may give other values for; more is another price basis. Up to
    five sessions always may."""
    noise: float = Field(default=NOISE, ge=0, lt=0.01)
    """Relative difference of a price from what was known that means nothing: sources' answers jitter."""
    max_without_volume: float = Field(default=0.05, ge=0, le=1)
    """Share of a symbol's sessions that may have no volume; one that has none at all, as an index, may."""


class QualityError(ConfigurationError):
    """The batch breaks a limit: another try would find the same rows."""


def most(values: dict[str, float]) -> tuple[float, str]:
    """The greatest of `values` by symbol, and whose it is; 0 where there are none."""
    if not values:
        return 0.0, ""
    symbol = max(values, key=lambda name: values[name])
    return values[symbol], symbol if values[symbol] else ""


def some(names: Collection[str]) -> str:
    """The first few of `names` in order, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more


def validation_record(
    stage: Stage,
    before: StageRecord,
    checks: Sequence[CheckResult],
    watch: Stopwatch,
    code_version: str,
    held: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> StageRecord:
    """The record of a stage that validated the rows of `before` and changed nothing but to hold some symbols.

    Args:
        held: those that it holds, with the reasons.
    """
    waiting = {
        symbol: SymbolResult(
            status=SymbolStatus.HELD,
            rows=0,
            checksum=batch_checksum(()),
            held=before.symbols[symbol].rows,
            reasons=reasons,
        )
        for symbol, reasons in held.items()
    }
    notes = tuple(f"{symbol} is held: {'; '.join(reasons)}" for symbol, reasons in sorted(held.items()))
    return stage_record(
        stage, before, watch, code_version, {**before.symbols, **waiting}, notes=notes, checks=tuple(checks)
    )


def finish_validation(store: ObjectStore, record: StageRecord) -> None:
    """Log what a validation measured.

    Raises:
        QualityError: a check did not pass; the record is in the lake all the same, for whoever reads it.
    """
    failed = [check for check in record.checks if not check.passed]
    for check in record.checks:
        (log.info if check.passed else log.error)("check", **check.model_dump(), passed=check.passed)
    for note in record.notes:
        log.warning(note)
    if failed:
        lineage.write(store, record)
        raise QualityError(f"run {record.run_id} is not fit for the next stage: {'; '.join(map(_describe, failed))}")


def over(name: str, observed: float, limit: float, unit: str) -> str:
    """One line on a value that breaks its limit."""
    return f"{name}: {observed:g} {unit}, at most {limit:g} allowed"


def _describe(check: CheckResult) -> str:
    detail = f" ({check.detail})" if check.detail else ""
    return over(check.name, check.observed, check.limit, check.unit) + detail
