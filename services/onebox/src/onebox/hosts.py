"""Stage hosts: processes that have a stage's libraries loaded and wait for work, so that a stage starts at once.

A stage program runs in a host exactly as from its console script: its `main(argv)` with its environment, its output in
a log file, its exit code. The Python host forks one child per stage; the Spark host keeps one Spark session, which no
fork survives, and runs its stages in its own process, one after the other.

A host takes one request per connection to its Unix socket: a JSON line in, a JSON line with the exit code out.
"""

import importlib
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from ticklake import calendar
from ticklake.settings import StageSettings

PROGRAMS = {
    "fetch-historical": "fetch_historical.main",
    "consume-historical": "consume_historical.main",
    "daily-analytics": "daily_analytics.main",
    "load-warehouse": "load_warehouse.main",
    "reconcile-run": "load_warehouse.reconcile_main",
    "load-windows": "load_warehouse.windows_main",
}
"""Console scripts that hosts can run, and the module with each one's `main`."""

_PYTHON_PRELOAD = (
    "fetch_historical.main",
    "fetch_historical.yahoo",
    "consume_historical.main",
    "load_warehouse.main",
    "load_warehouse.reconcile_main",
    "load_warehouse.windows_main",
    "pandas",
    "pyarrow.parquet",
    "boto3",
    "kafka",
    "snowflake.connector",
)


class Request(TypedDict):
    """One stage to run."""

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
    main: Callable[[Sequence[str]], Any] = importlib.import_module(PROGRAMS[request["program"]]).main
    try:
        main(request["arguments"])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _redirect(log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _run_forked(request: Request) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _redirect(request["log"])
            code = _call(request)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run_here(request: Request) -> int:
    own = os.dup(1)
    try:
        _redirect(request["log"])
        return _call(request)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(own, 1)
        os.dup2(own, 2)
        os.close(own)


def _warm_spark() -> None:
    """Make the session that the applications then get, and run one small query, which loads most of Spark's classes."""
    from daily_analytics.main import warm_up

    warm_up()


def main() -> None:
    """Serve requests on a Unix socket until SIGTERM; arguments: `python` or `spark`, and the socket's path."""
    kind, path = sys.argv[1:3]
    if kind == "spark":
        run = _run_here
        _warm_spark()
    else:
        run = _run_forked
        for module in _PYTHON_PRELOAD:
            importlib.import_module(module)
        # Building an exchange's calendar takes most of a second, and every fetch needs one.
        calendar.last_session(StageSettings().calendar, datetime.now(UTC).date())
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        while True:
            connection, _ = server.accept()
            with connection, connection.makefile("rw") as peer:
                request: Request = json.loads(peer.readline())
                print(json.dumps({"code": run(request)}), file=peer)


if __name__ == "__main__":
    main()
