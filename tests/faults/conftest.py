"""`ticklake run` on a data folder of a test's own, and the processes that come of it."""

import csv
import io
import os
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from waiting import ENDS_SECONDS, wait_until

from ticklake.pipeline import BATCH_STAGES

SYMBOLS = ("AAPL", "MSFT", "V")
DATE = "2024-06-28"
RUN = ("run", "--source", "simulated", "--date", DATE, "--symbols", ",".join(SYMBOLS), "--no-live")
SESSIONS = 252
"""Sessions in New York from 2023-06-29 to 2024-06-28: 262 weekdays without the ten holidays that fall on one."""


class Box:
    """A data folder, what runs on it, and all its processes (identified by a variable in their environment)."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder, self._program, self._mark = folder, programs / "ticklake", uuid.uuid4().hex
        self._output = folder.parent / "output"

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        command = [self._program, *arguments, "--data", self.folder]
        with self._output.open("w") as output:
            return subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                env={**os.environ, "BOX_OF_THE_TEST": self._mark, **environment},
            )

    def call(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [self._program, *arguments, "--data", self.folder],
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
            env={**os.environ, "BOX_OF_THE_TEST": self._mark},
        )

    def run(self, **environment: str) -> "subprocess.Popen[str]":
        """Start a run of three symbols."""
        for stage in BATCH_STAGES:
            self._log(stage.program).unlink(missing_ok=True)
        return self.start(*RUN, **environment)

    def output(self) -> str:
        return self._output.read_text()

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("BOX_OF_THE_TEST") == self._mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def process(self, *words: str) -> psutil.Process:
        """The one process with these words in its command, its guard apart."""
        (found,) = (
            process
            for process in self.processes()
            if process.name() != "sh" and all(any(word in part for part in process.cmdline()) for word in words)
        )
        return found

    def host(self, kind: str) -> psutil.Process:
        """The process in which stages run, none that it forked."""
        found = next(
            p for p in self.processes() if {"ticklake_local.stage_host", kind} <= set(p.cmdline()) and p.name() != "sh"
        )
        while (parent := found.parent()) and parent.cmdline() == found.cmdline():
            found = parent  # a forked stage has its host's command
        return found

    def _log(self, program: str) -> Path:
        return self.folder / "logs" / f"{program}.log"

    def wait_for_stage(self, program: str, running: "subprocess.Popen[str]") -> None:
        """Return once a stage of the run that was started last is under way."""
        wait_until(self._log(program).exists, self.output, alive=lambda: running.poll() is None)
        assert running.poll() is None, self.output()

    def ends(self, running: "subprocess.Popen[str]", code: int) -> None:
        """It ends by itself, and nothing is left of it."""
        asked = time.monotonic()
        assert running.wait(ENDS_SECONDS) == code, self.output()
        print(f"ended after {time.monotonic() - asked:.1f} s:\n{self.output()}")
        assert self.processes() == []

    def kill(self) -> None:
        """End what a failed test left."""
        for process in self.processes():
            process.kill()

    def nothing_is_left(self) -> None:
        """Return once nothing of it runs."""
        wait_until(lambda: not self.processes(), self.processes, seconds=ENDS_SECONDS)

    def check_rows(self) -> None:
        """The warehouse holds every row exactly once, and nothing runs."""
        assert self.start("sql", "--csv", "select symbol, session_date from MARKET_TEST.DAILY_ANALYTICS").wait(300) == 0
        rows = [(row["SYMBOL"], row["SESSION_DATE"]) for row in csv.DictReader(io.StringIO(self.output()))]
        assert len(set(rows)) == len(rows)
        assert Counter(symbol for symbol, _ in rows) == dict.fromkeys(SYMBOLS, SESSIONS)
        assert self.processes() == []


@pytest.fixture
def box(programs: Path, tmp_path: Path) -> Iterator[Box]:
    """A data folder of this test's own."""
    box = Box(programs, tmp_path / "data")
    yield box
    box.kill()


@pytest.fixture(scope="module")
def shared_box(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A data folder that a file's tests share, so that they need not start everything again."""
    box = Box(programs, tmp_path_factory.mktemp("box") / "data")
    yield box
    box.kill()
