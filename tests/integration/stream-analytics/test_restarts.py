"""Failures that the program waits for, on a real broker and store."""

import dataclasses
from typing import Any

import pytest
from plain_windows import closed_by, minutely

AGAIN = "the queries are started again"


@pytest.mark.timeout(900)
def test_the_store_goes_away_and_comes_back(on_own_store: Any, own_store: Any, reference: Any, compare: Any) -> None:
    bench, settings = on_own_store
    ticks = minutely(range(90))
    bench.send(ticks)
    bench.start(**settings)
    bench.until(lambda: len(bench.windows()) == len(closed_by(reference(ticks), ticks[-1])) and bench.ready())
    # The write is over, not only its commit: one that is cut off right after that asks the store for ten minutes.
    counters = [f'closed_windows_total{{window="{length}"}}' for length in ("15m", "1h")]
    bench.until(lambda: sum(map(bench.metric, counters)) == len(bench.windows()))

    own_store.kill()
    more = minutely(range(90, 120))
    bench.send(more)
    bench.until(lambda: AGAIN in bench.output() and not bench.ready())
    own_store.start_again()
    due = closed_by(reference([*ticks, *more]), more[-1])
    bench.until(lambda: len(bench.windows()) == len(due) and bench.ready())
    compare(bench.windows(), due)
    assert bench.metric("restarts_total") == bench.output().count(AGAIN)
    assert bench.errors() == ""

    # A stop while it waits.
    own_store.kill()
    before = bench.output().count(AGAIN)
    bench.send(minutely(range(120, 130)))
    bench.until(lambda: bench.output().count(AGAIN) > before)
    assert bench.terminate() < 20
    assert bench.errors() == ""


@pytest.mark.timeout(1500)
def test_the_broker_goes_away_and_comes_back(bench: Any, own_broker: Any, reference: Any, compare: Any) -> None:
    bench = dataclasses.replace(bench, kafka=own_broker.settings)
    settings = {
        "TICKLAKE_KAFKA_BOOTSTRAP_SERVERS": own_broker.bootstrap_servers,
        "TICKLAKE_KAFKA_TIMEOUT_SECONDS": "5",
        "TICKLAKE_WINDOWS_CHECKPOINT": "",
        "TICKLAKE_LIVE_FUTURE_TOLERANCE_SECONDS": "60",
    }
    ticks = minutely(range(90))
    bench.send(ticks)
    bench.start(**settings)
    bench.until(lambda: len(bench.windows()) == len(closed_by(reference(ticks), ticks[-1])) and bench.ready())
    own_broker.kill()
    bench.until(lambda: bench.output().count(AGAIN) > 1 and not bench.ready(), 600)
    own_broker.start_again()
    more = minutely(range(90, 120))
    bench.send(more)
    due = closed_by(reference([*ticks, *more]), more[-1])
    bench.until(lambda: len(bench.windows()) == len(due) and bench.ready(), 600)
    bench.terminate()
    compare(bench.windows(), due)
    assert bench.errors() == ""
