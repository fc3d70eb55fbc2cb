"""Runs the batch pipeline's stages in their order, each in a stage host, and says what each did."""

from collections.abc import Callable
from pathlib import Path

from onebox.host_client import Host, Hosts
from onebox.hosts import Request
from onebox.platform import Platform
from onebox.processes import UNKNOWN_EXIT
from onebox.sources import BatchInput
from ticklake import lineage
from ticklake.errors import ExitCode, StageError
from ticklake.lineage import StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import BATCH_STAGES, Stage

_ATTEMPTS = 2
_TAIL_LINES = 15


class StageFailed(StageError):
    """A stage ended with an exit code other than 0."""

    def __init__(self, stage: Stage, code: int, log: Path, said: str) -> None:
        """Keep which stage it was, its exit code and the last lines of its log."""
        self.stage, self.code, self.log, self.said = stage, code, log, said
        super().__init__(f"{stage.task_id} failed with exit code {code}; the end of its log {log}:\n{said}")
        if code == ExitCode.UNUSABLE:
            self.exit_code = ExitCode.UNUSABLE


def run_batch(
    platform: Platform, hosts: Hosts, asked: BatchInput, run_id: str, on_stage: Callable[[Stage, StageRecord], None]
) -> None:
    """Run every stage of the pipeline for `run_id`; `on_stage` is called as each is done.

    Raises:
        StageFailed: a stage failed, also when it was tried once more where its exit code says that this may help.
    """
    store = ObjectStore(platform.store)
    for stage in BATCH_STAGES:
        run_stage(platform, hosts.of(stage), stage, asked, run_id)
        on_stage(stage, lineage.read(store, run_id, stage.program))


def run_stage(platform: Platform, host: Host, stage: Stage, asked: BatchInput, run_id: str) -> None:
    """Run one stage in `host`."""
    log = platform.folder.log(stage.program)
    host.wait_ready()
    for attempt in range(1, _ATTEMPTS + 1):
        start = log.stat().st_size if log.exists() else 0
        code = host.run(
            Request(
                program=stage.program,
                arguments=["--date", asked.batch_date.isoformat(), "--run-id", run_id],
                environment=platform.stage_env() | asked.environment(),
                log=str(log),
            )
        )
        if code == ExitCode.DONE:
            return
        if code == UNKNOWN_EXIT:
            host.stop()
            host.start()
            host.wait_ready()
        if code == ExitCode.UNUSABLE or attempt == _ATTEMPTS:
            raise StageFailed(stage, code, log, tail(log, start))


def tail(log: Path, start: int) -> str:
    """The last lines that were written to `log` after position `start`."""
    with log.open("rb") as file:
        file.seek(start)
        return "\n".join(file.read()[-64 * 1024 :].decode(errors="replace").splitlines()[-_TAIL_LINES:])
