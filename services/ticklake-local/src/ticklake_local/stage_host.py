"""Stage hosts: processes that have a stage's libraries loaded and wait for work, so that a stage starts at once.

A stage program runs in a host exactly as from its console script: its `main(argv)` with its environment, its output in
a log file, its exit code. The Python host forks one child per stage; the Spark host keeps one Spark session, which no
fork survives, and runs its stages in its own process, one after the other.

A host takes one request per connection to its Unix socket: a JSON line in, a JSON line with the exit code out.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, TypedDict

from ticklake import calendar
from ticklake.pipeline import BATCH_STAGES, LOAD_LIVE, Kind
from ticklake.settings import StageSettings
from ticklake.spark import close_jvm

_PYTHON_PRELOAD = (
    "fetch_historical.yahoo",
    "pandas",
    "pyarrow.parquet",
    "pyiceberg.catalog.sql",
    "boto3",
    "kafka",
    "snowflake.connector",
)
"""Libraries that stages import only when they need them."""


FINISH = b"finish\n"
"""Sent in place of a request: end, and take the time that this needs."""


class Request(TypedDict):
    """One stage to run."""

    package: str
    program: str
    arguments: list[str]
    environment: dict[str, str]
    log: str


def _call(request: Request) -> int:
    """Run the stage's `main` in this process; its exit code."""
    # Settings of an earlier stage must not leak into this one.
    for name in [name for name in os.environ if name.startswith("TICKLAKE_")]:
        del os.environ[name]
    os.environ.update(request["environment"])
    try:
        _main_of(request["package"], request["program"])(request["arguments"])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _main_of(package: str, program: str) -> Callable[[Sequence[str]], Any]:
    """What the console script `program` calls."""
    main: Callable[[Sequence[str]], Any] = distribution(package).entry_points[program].load()
    return main


def _redirect(log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _run_forked(request: Request, connection: socket.socket) -> int:
    # Until the child has given up the host's handler, no SIGTERM may reach it: the handler would raise wherever it is
    # called, which right after the fork is amid the renewal of the locks of `logging`.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            connection.close()  # else the runner would not see that the host ended
            _redirect(request["log"])
            code = _call(request)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    with _stopped_with(connection, child):
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def _stopped_with(connection: socket.socket, child: int) -> Iterator[None]:
    """Stop the stage in process `child` if its runner hangs up: nobody waits for it any more."""
    ended = threading.Event()

    def watch() -> None:
        with contextlib.suppress(OSError):
            if not connection.recv(1) and not ended.is_set():
                os.kill(child, signal.SIGTERM)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RD)
        thread.join()


def _run_here(request: Request, _: socket.socket) -> int:
    own = os.dup(1)
    # The stage sets a handler of its own, which speaks for the stage and must not outlast it.
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        _redirect(request["log"])
        return _call(request)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(own, 1)
        os.dup2(own, 2)
        os.close(own)
        signal.signal(signal.SIGTERM, handler)


def main() -> None:
    """Serve requests on a Unix socket until SIGTERM or `FINISH`.

    Arguments: `python`, `spark` (a session, started) or `warm-spark` (one that has done some work), and the socket's
    path.
    """
    kind, path = sys.argv[1:3]
    _end_on_sigterm()
    if kind == "python":
        for stage in (*BATCH_STAGES, LOAD_LIVE):
            if stage.kind is Kind.POD:
                _main_of(stage.image, stage.program)
        for module in _PYTHON_PRELOAD:
            importlib.import_module(module)
        # Building an exchange's calendar takes most of a second, and every fetch needs one.
        calendar.last_session(StageSettings().calendar, datetime.now(UTC).date())
        _serve(Path(path), _run_forked)
        return
    from daily_analytics.main import start_session, warm_up

    (warm_up if kind == "warm-spark" else start_session)()
    worked = False

    def run(request: Request, connection: socket.socket) -> int:
        nonlocal worked
        code = _run_here(request, connection)
        worked = worked or code == 0
        return code

    finished = False
    try:
        _serve(Path(path), run)
        finished = True
    finally:
        # After a stage that went through, the JVM has loaded what an archive of its classes is to hold; writing one
        # takes a while, for which there is no time after SIGTERM.
        close_jvm(keep_archive=worked and finished)


def _end_on_sigterm() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _serve(path: Path, run: Callable[[Request, socket.socket], int]) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        while True:
            connection, _ = server.accept()
            # A runner that hangs up, before or after it asked for something, does the host no harm.
            with connection, contextlib.suppress(OSError), connection.makefile("rb") as lines:
                line = lines.readline()
                if line == FINISH:
                    return
                if line:
                    code = run(json.loads(line), connection)
                    connection.sendall(json.dumps({"code": code}).encode() + b"\n")


if __name__ == "__main__":
    main()
