"""`ticklake doctor`: checks a machine and its data folder, or a cluster, and names what is wrong and what to do."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ticklake.errors import ExitCode, StageError
from ticklake_local.report import plain_console


class State(StrEnum):
    """How a check ended; the value is the mark before its line."""

    GOOD = "✓"
    NOTE = "!"
    """Worth knowing; everything works all the same."""
    WRONG = "✗"


@dataclass(frozen=True)
class Finding:
    """What a check found, and what to do about it where that is not part of the text."""

    state: State
    text: str
    remedy: str = ""


Check = Callable[[], Iterator[Finding]]
"""A StageError that it raises is a finding too: something is wrong."""


@dataclass(frozen=True)
class DoctorOptions:
    """What `ticklake doctor` was called with."""

    folder: Path
    cache: Path
    namespace: str | None = None
    """Check the platform in this namespace of the current cluster, and not this machine."""


def doctor(options: DoctorOptions) -> None:
    """Print a line for each finding; the process ends with exit code 1 where something is wrong."""
    from ticklake_local import cluster_checks, machine_checks

    checks: dict[str, Check]
    if options.namespace is not None:
        checks = cluster_checks.checks(options.namespace)
    else:
        checks = machine_checks.checks(options.folder, options.cache)
    console, wrong = plain_console(), 0
    for subject, check in checks.items():
        for finding in _found(check):
            console.print(f"{finding.state} {subject}: {finding.text}")
            if finding.remedy:
                console.print(f"    {finding.remedy}")
            wrong += finding.state is State.WRONG
    if wrong:
        console.print("1 thing is wrong" if wrong == 1 else f"{wrong} things are wrong")
        sys.exit(ExitCode.FAILED)
    console.print("Nothing is wrong")


def _found(check: Check) -> Iterator[Finding]:
    try:
        yield from check()
    except StageError as error:
        yield Finding(State.WRONG, str(error))
