"""Runs pytest in processes forked from one that has imported other people's packages: a short run is mostly imports."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_IMPORTED_ONCE = (
    "_pytest.config",
    "aiosmtplib",
    "boto3",
    "botocore.httpsession",
    "exchange_calendars",
    "fakesnow.instance",
    "httpx",
    "hypothesis.strategies",
    "kafka",
    "lz4.frame",
    "prometheus_client",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pydantic_settings",
    "pyiceberg.catalog.sql",
    "pyspark.sql",
    "pytest",
    "structlog",
    "talib",
    "yaml",
)
"""No package of our own and none that imports one: those a run imports from where it is told to.

A run imports by itself what is not named here.
"""
_SECONDS = 300
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(_IMPORTED_ONCE))


@dataclass(frozen=True)
class Ended:
    """A run that has ended, and what it wrote to stdout and stderr."""

    returncode: int | None
    output: str


def run_pytest(arguments: Sequence[str], folder: Path, path: Sequence[str], environment: Mapping[str, str]) -> Ended:
    """Run pytest in a folder, with an environment, and with `path` before all else that is imported from.

    What takes longer than five minutes is killed.
    """
    with tempfile.NamedTemporaryFile("r+") as output:
        process = _CONTEXT.Process(
            target=_run, args=(list(arguments), folder, list(path), dict(environment), output.name)
        )
        process.start()
        try:
            process.join(_SECONDS)
        finally:
            process.kill()
            process.join()
        return Ended(process.exitcode, output.read())


def _run(arguments: list[str], folder: Path, path: list[str], environment: dict[str, str], output: str) -> None:
    # The descriptors themselves, as pytest and what it starts write to them.
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(descriptor, stream.fileno())
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = path

    import pytest

    sys.exit(pytest.main(arguments))
