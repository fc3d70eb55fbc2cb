"""The entry point: exit codes and one clear line for everything that a user can cause."""

import errno
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from waiting import ENDS_SECONDS

from ticklake.batch_stage import batch_main
from ticklake.errors import ConfigurationError, ExitCode, IntegrityError
from ticklake.program import guarded
from ticklake.settings import StageSettings


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("wrong\nkey"), ExitCode.UNUSABLE),
        (IntegrityError("lost 3 rows"), ExitCode.FAILED),
        (OSError(errno.ENOSPC, "No space left on device", "/lake"), ExitCode.FAILED),
        (KeyboardInterrupt(), ExitCode.FAILED),
    ],
)
def test_errors_become_one_line_and_a_code(
    error: BaseException, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded("stage", lambda: fail(error)) is code
    printed = capsys.readouterr().err
    assert printed.startswith("stage: ")
    assert printed.count("\n") == 1


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded("stage", lambda: fail(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--date", "31.1.2026", "--run-id", "r"], "'31.1.2026' is not a date"),
        (["--run-id", "r"], "--date"),
        (["--date", "2026-01-31", "--run-id", " "], "run id"),
        (["--date", "2026-01-31", "--run-id", "r", "--colour", "red"], "--colour red"),
    ],
)
def test_a_wrong_call_is_one_line_and_code_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        batch_main("stage", StageSettings, lambda *_: pytest.fail("must not run"), arguments)
    assert stopped.value.code == ExitCode.UNUSABLE
    printed = capsys.readouterr().err
    assert reason in printed
    assert printed.count("\n") == 1


SERVICE = """
    import sys, threading
    from ticklake.settings import StageSettings
    from ticklake.service import service_main
    def body(settings, stop):
        print("ready", flush=True)
        stop.wait(300)
        sys.exit(3) if not stop.is_set() else None
    service_main("service", StageSettings, body, [])
"""


def test_a_service_ends_cleanly_on_sigterm() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVICE)], stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "ready\n"
        service.terminate()
        assert service.wait(ENDS_SECONDS) == 0
        last = json.loads(service.stdout.read().splitlines()[-1])
    assert last["event"] == "stopped"
    assert last["stage"] == "service"


def test_logs_are_json_where_no_person_reads(tmp_path: Path) -> None:
    program = "from ticklake import logs; logs.configure(stage='s'); logs.get('x').info('hello', rows=3)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    line = json.loads(done.stdout)
    assert (line["event"], line["rows"], line["stage"], line["level"]) == ("hello", 3, "s", "info")
    assert line["timestamp"].endswith("Z")
