"""Windows computed again from the archive: what the stream missed, lost or never wrote is as if it had not."""

import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from plain_windows import LENGTHS, START, closed_by, minutely
from pyiceberg.expressions import EqualTo
from waiting import ENDS_SECONDS, wait_until

from ticklake import ledger
from ticklake.catalog import matching
from ticklake.kafka import topic_id
from ticklake.tables import WINDOWS, arrow_schema


@pytest.fixture
def archive(bench: Any, programs: Any, stage_env: Callable[..., dict[str, str]]) -> Iterator[Callable[[int], None]]:
    """Runs the archive; waits until the given number of ticks is in it."""
    env = stage_env(TICKLAKE_METRICS_PORT="0", TICKLAKE_ARCHIVE_ROLL_SECONDS="1")
    with (bench.logs / "archive").open("wb") as out:
        process = subprocess.Popen([programs / "archive-ticks"], env=env, stdout=out, stderr=out)

    def rows() -> int:
        chains = ledger.verify_chain(bench.store, bench.names, topic_id(bench.kafka, bench.names.topic))
        return sum(part.rows for chain in chains.values() for part in chain)

    log = bench.logs / "archive"
    yield lambda count: wait_until(lambda: rows() == count, log.read_text, alive=lambda: process.poll() is None)
    process.terminate()
    process.wait(ENDS_SECONDS)


def rebuild(bench: Any, programs: Any, first: Any, after: Any) -> "subprocess.CompletedProcess[str]":
    call = [programs / "rebuild-windows", "--from", first, "--to", after, "--run-id", "by-hand"]
    return subprocess.run(call, env=bench.environment(), capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.timeout(1500)
def test_windows_are_as_the_archive_knows_them(
    bench: Any, programs: Any, tick: Any, reference: Any, compare: Any, archive: Callable[[int], None]
) -> None:
    nothing = rebuild(bench, programs, START.isoformat(), (START + timedelta(hours=1)).isoformat())
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1), nothing.stderr
    assert "is closed yet" in nothing.stderr

    ticks = minutely(range(120))
    bench.send(ticks)
    bench.start(TICKLAKE_WINDOWS_CHECKPOINT="", TICKLAKE_WINDOWS_RUNNING="false")
    before = closed_by(reference(ticks), ticks[-1])
    bench.until(lambda: len(bench.windows()) == len(before))
    # Too late for the stream, which leaves it out of windows that are closed.
    late = tick("AAPL", 1000.0, 7, START + timedelta(minutes=30, seconds=30), 5000)
    bench.send([late])
    bench.until(lambda: bench.metric('late_ticks_total{missed="all",window="1h"}') > 0)
    bench.terminate()
    archive(len(ticks) + 1)

    # Lost from the table, and with other values.
    gone = EqualTo("window_start", (START + timedelta(minutes=40)).isoformat())
    stored = bench.tables.read("market_test", WINDOWS, matching(flow=[bench.flow]))
    lost = [row for row in stored.to_pylist() if row["window_start"] == START + timedelta(minutes=40)]
    wrong = [{**row, "tick_count": row["tick_count"] + 1, "close": 0.5} for row in lost if row["symbol"] == "MSFT"]
    odd = pa.Table.from_pylist(wrong, arrow_schema(WINDOWS.columns))
    bench.tables.replace("market_test", WINDOWS, "damage", odd, matching(gone, flow=[bench.flow]))

    done = rebuild(bench, programs, START.isoformat(), (START + timedelta(hours=1)).isoformat())
    assert done.returncode == 0, done.stderr
    known = reference([*ticks, late])
    first_hour = {
        key: value for key, value in known.items() if key in before and START <= key[3] < START + LENGTHS["1h"]
    }
    compare(bench.windows(), {**before, **first_hour})
    revised = [
        key for key, value in first_hour.items() if value != before[key] or key[3] == START + timedelta(minutes=40)
    ]
    assert f'"new": {len(lost) - len(wrong)}' in done.stdout
    assert f'"revised": {len(revised) - len(lost) + len(wrong)}' in done.stdout
    (run,) = {s.summary["ticklake.run-id"] for s in _snapshots(bench)[-1:]}
    assert run == "by-hand"

    # Again: nothing is left to do, and nothing is committed.
    version = bench.tables.version("market_test", WINDOWS)
    again = rebuild(bench, programs, START.isoformat(), (START + timedelta(hours=1)).isoformat())
    assert again.returncode == 0, again.stderr
    assert f'"unchanged": {len(first_hour)}' in again.stdout
    assert bench.tables.version("market_test", WINDOWS) == version

    # The stream goes on, and writes what closes now, once.
    more = minutely(range(120, 150))
    bench.send(more)
    bench.start(TICKLAKE_WINDOWS_CHECKPOINT="", TICKLAKE_WINDOWS_RUNNING="false")
    due = closed_by(reference([*ticks, *more]), more[-1])
    bench.until(lambda: len(bench.windows()) == len(due))
    bench.terminate()
    compare(bench.windows(), {**due, **first_hour})


def _snapshots(bench: Any) -> list[Any]:
    return list(bench.tables._catalog().load_table(("market_test", WINDOWS.name)).snapshots())


@pytest.mark.parametrize(
    ("first", "after", "message"),
    [
        ("2026-01-30T14:30", "2026-01-30T15:30Z", "has no offset from UTC"),
        ("yesterday", "2026-01-30T15:30Z", "is no moment"),
        ("2026-01-30T15:30Z", "2026-01-30T15:30Z", "does not lie after"),
    ],
)
def test_a_wrong_span_is_one_line(bench: Any, programs: Any, first: str, after: str, message: str) -> None:
    done = rebuild(bench, programs, first, after)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
