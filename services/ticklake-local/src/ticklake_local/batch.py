"""Runs the batch pipeline's stages in their order, each in a stage host, and says what each did."""

import os
from collections.abc import Callable
from pathlib import Path

from ticklake import lineage
from ticklake.errors import ExitCode, StageError
from ticklake.lineage import StageRecord
from ticklake.objects import ObjectStore
from ticklake.pipeline import BATCH_STAGES, Stage
from ticklake_local.batch_source import BatchInput
from ticklake_local.platform import Platform, Say
from ticklake_local.processes import UNKNOWN_EXIT
from ticklake_local.stage_host import Request
from ticklake_local.stage_host_client import Host, Hosts

_ATTEMPTS = 2
_TAIL_LINES = 15
_TAIL_BYTES = 64 * 1024


class StageFailed(StageError):
    """A stage ended with an exit code other than 0."""

    def __init__(self, stage: Stage, code: int, log: Path, output: str) -> None:
        """Keep which stage it was, its exit code and the last lines of its log."""
        self.stage, self.code, self.log, self.output = stage, code, log, output
        super().__init__(f"{stage.task_id} failed with exit code {code}; its log is {log}")
        self.details = output
        if code == ExitCode.UNUSABLE:
            self.exit_code = ExitCode.UNUSABLE


def run_batch(
    platform: Platform,
    hosts: Hosts,
    asked: BatchInput,
    run_id: str,
    on_stage: Callable[[Stage, StageRecord], None],
    say: Say,
) -> None:
    """Run every stage of the pipeline for `run_id`; `on_stage` is called as each is done.

    Raises:
        StageFailed: a stage failed, also when it was tried once more where its exit code says that this may help.
    """
    store = ObjectStore(platform.store)
    for stage in BATCH_STAGES:
        arguments = ["--date", asked.batch_date.isoformat(), "--run-id", run_id]
        run_stage(platform, hosts.of(stage), stage, arguments, asked.environment(), say)
        on_stage(stage, lineage.read(store, run_id, stage.program))


def run_stage(
    platform: Platform, host: Host, stage: Stage, arguments: list[str], environment: dict[str, str], say: Say
) -> None:
    """Run a stage in `host`, once more where its exit code says that this may help.

    Raises:
        StageFailed: it failed for good.
        ChildFailed: a server of the platform ended meanwhile, which the stage cannot do without.
    """
    log = platform.folder.log(stage.program)
    request = Request(
        package=stage.image,
        program=stage.program,
        arguments=arguments,
        environment=platform.stage_env() | environment,
        log=str(log),
    )
    host.wait_ready()
    output = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            say(f"  … {stage.task_id} failed and is tried once more: {_last_line(output)}")
        start = log.stat().st_size if log.exists() else 0
        code = host.run(request, platform.check)
        if code == ExitCode.DONE:
            return
        platform.check()
        output = tail(log, start)
        if code == UNKNOWN_EXIT:
            output = f"{output}\n{host.tail()}".strip()
            host.restart(platform.check)
        elif code == ExitCode.UNUSABLE:
            break
    raise StageFailed(stage, code, log, output)


def _last_line(output: str) -> str:
    return output.splitlines()[-1] if output else "it printed nothing"


def tail(log: Path, start: int) -> str:
    """The last lines that were written to `log` after position `start`; log records only where there is nothing else.

    A stage that ended by itself says why in a line for people.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""  # the host ended before it came to the stage
    plain = [line for line in lines if not line.startswith('{"')]
    return "\n".join((plain or lines)[-_TAIL_LINES:])
