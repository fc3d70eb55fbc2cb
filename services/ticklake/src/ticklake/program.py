"""What all programs have in common: arguments, exit code, and what Airflow gets of them."""

import argparse
import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import date
from typing import NoReturn, TypeVar

from ticklake import logs, readiness
from ticklake.errors import ExitCode, StageError
from ticklake.keys import MAX_RUN_ID
from ticklake.settings import StageSettings, load

S = TypeVar("S", bound=StageSettings)

log = logs.get(__name__)


class Arguments(argparse.ArgumentParser):
    """An argument parser that answers a wrong call with one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and end the process."""
        say(self.prog, f"{message}; see {self.prog} --help")
        sys.exit(ExitCode.UNUSABLE)


def iso_date(text: str) -> date:
    """The date in `text`, as an argument parser's type."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-01-31") from None


def run_id(text: str) -> str:
    """`text` as a run's id, as an argument parser's type."""
    if not text.strip() or len(text) > MAX_RUN_ID or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a run id has 1 to {MAX_RUN_ID} printable characters")
    return text


def guarded(name: str, work: Callable[[], None]) -> ExitCode:
    """Do `work`; what a user can cause ends in one line on stderr and the right exit code, never in a traceback."""
    try:
        work()
    except StageError as error:
        say(name, str(error))
        if error.details:
            print(error.details, file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        say(name, "interrupted")
        return ExitCode.FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EADDRINUSE):
            raise
        say(name, f"{error.strerror}: {error.filename or 'this machine'}")
        return ExitCode.FAILED
    return ExitCode.DONE


def say(name: str, line: str) -> None:
    """Print a line of the program `name` to stderr."""
    print(f"{name}: {' '.join(line.split())}", file=sys.stderr, flush=True)


def hand_over(settings: StageSettings, result: dict[str, object]) -> None:
    """Give `result` to Airflow, where the stage runs under it."""
    if settings.xcom_file.parent.is_dir():
        settings.xcom_file.write_text(json.dumps(result))


def task_main(
    name: str,
    settings_type: type[S],
    body: Callable[[S, argparse.Namespace], dict[str, object]],
    parser: Arguments,
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Run a program that ends by itself and belongs to no batch, and exit the process.

    `body` gets the parsed arguments and returns the result for Airflow.
    """

    def work() -> None:
        arguments = parser.parse_args(argv)
        settings = load(settings_type)
        logs.configure(settings.log_level, settings.log_format, stage=name)
        end_on_sigterm()
        readiness.wait(settings, settings.start_wait_seconds)
        result = body(settings, arguments)
        hand_over(settings, result)
        log.info("done", **result)

    sys.exit(guarded(name, work))


def end_on_sigterm() -> None:
    """Let SIGTERM end this process at once, with the exit code of a failure: a retry makes all of its work again."""

    def stop(*_: object) -> None:
        say("stage", "stopped by SIGTERM; a retry starts over")
        os._exit(ExitCode.FAILED)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
