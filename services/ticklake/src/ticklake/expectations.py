"""What is expected of a batch as a whole, and how a validation stage says that it is not so.

Single rows are judged where they are read (`records`, `quality`); here stand the limits for shares and counts, which a
source can break while every row of it is in order.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from pydantic import Field
from pydantic_settings import BaseSettings

from ticklake import lineage, logs
from ticklake.errors import ConfigurationError
from ticklake.lineage import CheckResult, StageRecord
from ticklake.objects import ObjectStore
from ticklake.settings import settings_config

log = logs.get(__name__)

_NAMED = 5


class QualitySettings(BaseSettings):
    """The limits (`TICKLAKE_QUALITY_…`); shares are fractions of 1."""

    model_config = settings_config("TICKLAKE_QUALITY_")

    max_failed_symbols: float = Field(default=0.1, ge=0, le=1)
    """Share of the symbols asked for that may have brought no rows."""
    max_stale_sessions: int = Field(default=1, ge=0)
    """Sessions that a symbol's last bar may lie behind the last one up to the batch's date."""
    max_missing_sessions: float = Field(default=0.02, ge=0, le=1)
    """Share of a symbol's sessions between its first and last that it may lack."""
    max_quarantined: float = Field(default=0.05, ge=0, le=1)
    """Share of the fetched rows that may be in quarantine."""
    max_daily_move: float = Field(default=0.8, gt=0)
    """Relative change of the adjusted close from one session to the next above which it is taken for an error."""
    max_without_volume: float = Field(default=0.05, ge=0, le=1)
    """Share of a symbol's sessions that may have no volume."""


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


def conclude(
    store: ObjectStore, stage: str, before: StageRecord, checks: Sequence[CheckResult], started_at: datetime,
    code_version: str,
) -> StageRecord:  # fmt: skip
    """The validation's record, where every check passed.

    Raises:
        QualityError: one did not; the record is in the lake all the same, for whoever looks into it.
    """
    record = StageRecord.of_checks(stage, before, checks, started_at, code_version)
    failed = [check for check in checks if not check.passed]
    for check in checks:
        (log.info if check.passed else log.error)("check", **check.model_dump(), passed=check.passed)
    if failed:
        lineage.write(store, record)
        raise QualityError(f"run {record.run_id} is not fit for the next stage: {'; '.join(map(_told, failed))}")
    return record


def _told(check: CheckResult) -> str:
    detail = f" ({check.detail})" if check.detail else ""
    return f"{check.name}: {check.observed:g} {check.unit}, at most {check.limit:g} allowed{detail}"
