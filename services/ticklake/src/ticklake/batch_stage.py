"""What batch stages have in common: their main function, the run, times of steps, result record."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NoReturn, TypeVar

from ticklake import lineage, logs, readiness, runs
from ticklake.errors import ConfigurationError, ExitCode, StageError
from ticklake.lineage import StageFailure, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import Stage
from ticklake.program import Arguments, end_on_sigterm, guarded, hand_over, iso_date, run_id
from ticklake.settings import StageSettings, StoreSettings, load

S = TypeVar("S", bound=StageSettings)

log = logs.get(__name__)

_NOTE_SECONDS = 3.0
_REASON_LENGTH = 500


@dataclass(frozen=True)
class Run:
    """Which run a batch stage works for."""

    run_id: str
    batch_date: date

    @property
    def batch_id(self) -> str:
        """The batch's id on every message and row: the run's, so that a retry makes the same messages."""
        return self.run_id

    def record_before(self, store: ObjectStore, stage: Stage) -> StageRecord:
        """The result record that `stage` starts from.

        Raises:
            ConfigurationError: the stage before it has not finished in this run, or the run is of another date.
        """
        record = lineage.read(store, self.run_id, stage.upstream[-1].program)
        self.check_date(record)
        return record

    def check_date(self, record: StageRecord) -> None:
        """Check that `record` is of the date that was asked for.

        Raises:
            ConfigurationError: it is not.
        """
        if record.batch_date != self.batch_date:
            raise ConfigurationError(f"run {self.run_id} is of {record.batch_date}, not of --date {self.batch_date}")


class Stopwatch:
    """When a stage began, and the seconds of its steps."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC)
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, step: str) -> None:
        """Add the time since the last step's end, or the start, to `step`."""
        now = time.perf_counter()
        self.seconds[step] = round(self.seconds.get(step, 0.0) + now - self._since, 3)
        self._since = now


def stage_record(
    stage: Stage,
    of: Run | StageRecord,
    watch: Stopwatch,
    code_version: str,
    symbols: Mapping[str, SymbolResult],
    **own: Any,
) -> StageRecord:
    """The result of `stage`, its rows added up by symbol.

    Args:
        of: the record that the stage started from; where there is none the run, and `source` is given too.
        own: what else the record has, or has otherwise.
    """
    rows, held = (sum(getattr(part, name) for part in symbols.values()) for name in ("rows", "held"))
    if isinstance(of, StageRecord):
        own = {"source": of.source} | own
    common = {
        "stage": stage.program,
        "run_id": of.run_id,
        "batch_id": of.batch_id,
        "batch_date": of.batch_date,
        "rows_in": rows + held + own.setdefault("quarantined", 0),
        "rows_out": rows,
        "held": held,
        "symbols": symbols,
        "timings": watch.seconds,
        "started_at": watch.started_at,
        "finished_at": datetime.now(UTC),
        "code_version": code_version,
    }
    return StageRecord(**(common | own))


def batch_main(
    name: str,
    settings_type: type[S],
    body: Callable[[S, Run], tuple[StageRecord, ObjectStore]],
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Run a batch stage and exit the process.

    `body` does the work and returns the result record, which then goes to the lake and to Airflow's XCom file.
    """

    def work() -> None:
        run = _arguments(name, argv)
        settings = load(settings_type)
        logs.configure(settings.log_level, settings.log_format, stage=name, run_id=run.run_id)
        end_on_sigterm()
        readiness.wait(settings, settings.start_wait_seconds)
        started_at = datetime.now(UTC)
        try:
            record, store = body(settings, run)
            lineage.write(store, record)
        except Exception as error:
            _keep_failure(name, settings, run, error, started_at)
            raise
        hand_over(settings, record.summary())
        log.info(
            "done",
            rows_in=record.rows_in,
            rows_out=record.rows_out,
            quarantined=record.quarantined,
            seconds=round(lineage.elapsed_seconds(record), 2),
        )

    sys.exit(guarded(name, work))


def _keep_failure(name: str, settings: StageSettings, run: Run, error: Exception, started_at: datetime) -> None:
    """Leave a note of the failure in the lake, for who watches the runs. That it cannot be written changes nothing."""
    where = getattr(settings, "store", None)
    if not isinstance(where, StoreSettings):
        return
    failure = StageFailure(
        stage=name,
        run_id=run.run_id,
        batch_date=run.batch_date,
        kind=type(error).__name__,
        reason=" ".join(str(error).split())[:_REASON_LENGTH],
        exit_code=getattr(error, "exit_code", ExitCode.FAILED),
        started_at=started_at,
        failed_at=datetime.now(UTC),
        code_version=settings.code_version,
    )
    try:
        # The stage is over, and the store may be what it failed with: no long wait for it.
        runs.write_failure(ObjectStore(where.model_copy(update={"timeout_seconds": _NOTE_SECONDS})), failure)
    except StageError as second:
        # A store that fails is what the stage's own line says already.
        report = log.debug if str(error).startswith("the store ") else log.warning
        report("the failure is not noted in the lake", reason=str(second))


def _arguments(name: str, argv: Sequence[str] | None) -> Run:
    parser = Arguments(prog=name, description="Further settings come from TICKLAKE_… variables.")
    parser.add_argument("--date", type=iso_date, required=True, help="the batch's date, YYYY-MM-DD")
    parser.add_argument("--run-id", type=run_id, required=True, help="the run; a retry has the same one")
    arguments = parser.parse_args(argv)
    return Run(arguments.run_id, arguments.date)
