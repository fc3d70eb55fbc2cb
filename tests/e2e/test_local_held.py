"""`ticklake held` as a user calls it: a night with one odd answer, and what a person decides on it."""

import csv
import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from waiting import wait_until
from yahoo_rig import HttpAnswer, answering, case, chart

from ticklake import calendar

DAYS = calendar.sessions("XNYS", date(2026, 7, 20), date(2026, 8, 7))
NINE = tuple(f"GOOD{n}" for n in range(9))
SYMBOLS = ",".join((*NINE, "AAPL"))
NIGHT = "2026-08-07"

pytestmark = pytest.mark.timeout(1500)


def good(symbol: str, days: tuple[date, ...] = DAYS) -> HttpAnswer:
    return chart(symbol, days, [100.0 + n for n in range(len(days))])


class Box:
    """A data folder, a source, and the command."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder

    def start(self, *arguments: str, **more: str) -> "subprocess.Popen[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TICKLAKE_")}
        return subprocess.Popen(
            [self.programs / "ticklake", *arguments, "--data", str(self.folder)],
            env=kept | more,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **more)
        out, printed = process.communicate(timeout=400)
        return subprocess.CompletedProcess(process.args, process.returncode, out, printed)

    def run(self, day: str, answers: dict[str, HttpAnswer]) -> subprocess.CompletedProcess[str]:
        with answering({symbol: good(symbol) for symbol in NINE} | answers) as (url, _):
            return self(
                "run",
                "--source",
                "yahoo",
                "--date",
                day,
                "--symbols",
                SYMBOLS,
                "--no-live",
                "--report",
                str(self.folder.parent / "report.json"),
                TICKLAKE_YAHOO_ENDPOINT=url,
                TICKLAKE_YAHOO_ATTEMPTS="2",
                TICKLAKE_YAHOO_BACKOFF_BASE_SECONDS="0.01",
            )

    def sql(self, statement: str) -> list[dict[str, str]]:
        done = self("sql", "--csv", statement)
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))

    def rows(self) -> dict[str, int]:
        found = self.sql("select symbol, count(*) as n from MARKET.DAILY_ANALYTICS group by symbol")
        return {row["SYMBOL"]: int(row["N"]) for row in found}

    @property
    def lake(self) -> Path:
        return self.folder / "store" / "buckets" / "stock-market-data"


@pytest.fixture(scope="module")
def box(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    found = Box(programs, tmp_path_factory.mktemp("box") / "data")
    done = found("up")
    assert done.returncode == 0, done.stderr
    yield found
    assert found("down").returncode == 0


def test_a_night_with_an_odd_answer(box: Box) -> None:
    assert "Nothing is held" in box("held", "list").stdout
    done = box.run("2026-08-06", {"AAPL": good("AAPL", DAYS[:-1])})
    assert done.returncode == 0, done.stdout + done.stderr
    done = box.run(NIGHT, {"AAPL": case("split_recorded_not_applied")})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "held, and left out of this run: AAPL (ticklake held list)" in done.stdout
    report = json.loads((box.folder.parent / "report.json").read_text())
    assert report["held"].keys() == {"AAPL"}
    night = report["run_id"]
    kept = box.rows()
    assert kept == dict.fromkeys(NINE, len(DAYS)) | {"AAPL": len(DAYS) - 1}

    done = box("held", "list")
    assert all(word in done.stdout for word in ("AAPL", "yahoo", NIGHT, "not adjusted for it")), done.stdout
    done = box("held", "show", "aapl")
    assert f"AAPL is held by run {night} of {NIGHT}" in done.stdout
    assert len([line for line in done.stdout.splitlines() if "2026-0" in line and "│" in line]) == len(DAYS)
    for words, message in (
        (("release", "ZZZZ"), "ticklake: ZZZZ is not held; held now: AAPL"),
        (("drop", "AAPL", "--run", "none"), "ticklake: AAPL is not held by run none; held now: AAPL"),
    ):
        done = box("held", *words)
        assert (done.returncode, done.stderr.splitlines()) == (2, [message])

    # Killed when the answer is in the topic; the same command goes on with it.
    sent = box.lake / "lineage" / f"run_id={night}.release-AAPL" / "consume-historical.json"
    process = box.start("held", "release", "AAPL", "--by", "kim")
    wait_until(sent.exists)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = box("held", "release", "AAPL", "--by", "lee")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"AAPL of run {night} was released by kim at " in done.stdout
    assert box.rows() == kept | {"AAPL": len(DAYS)}
    summary = json.loads((sent.parent / "run.json").read_text())
    assert (summary["reconciled"], list(summary["symbols"])) == (True, ["AAPL"])
    places = summary["symbols"]["AAPL"]
    assert places["facts"] == places["analytics"] == places["warehouse"] == len(DAYS)
    batches = box.sql("select symbol, batch_id from MARKET.DAILY_ANALYTICS where batch_id like '%release%'")
    assert {row["SYMBOL"] for row in batches} == {"AAPL"}
    assert "Nothing is held" in box("held", "list").stdout

    before = {path: path.stat().st_mtime_ns for path in box.lake.rglob("*") if path.is_file()}
    done = box("held", "release", "AAPL")
    assert (done.returncode, "nothing is left to do" in done.stdout) == (0, True)
    assert {path: path.stat().st_mtime_ns for path in box.lake.rglob("*") if path.is_file()} == before
    done = box("held", "drop", "AAPL")
    assert done.returncode == 2
    assert "cannot be dropped: it was released by kim" in done.stderr


def test_a_dropped_answer(box: Box) -> None:
    done = box.run(NIGHT, {"AAPL": case("answer_of_another_symbol")})
    assert done.returncode == 0, done.stdout + done.stderr
    rows = box.rows()
    done = box("held", "drop", "AAPL")
    assert (done.returncode, "asks again" in done.stdout) == (0, True)
    assert "Nothing is held" in box("held", "list").stdout
    assert box.rows() == rows
