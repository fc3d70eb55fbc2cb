"""What is held, from plain records and decisions."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ticklake.held_symbols import Answered, Decision, Hold, held_now
from ticklake.keys import release_run_id
from ticklake.lineage import ObjectRef, StageRecord, SymbolChanges, SymbolResult
from ticklake.records import Source, SymbolStatus

MONDAY = date(2026, 8, 3)
YEAR = timedelta(days=364)
GOOD = SymbolResult(rows=5, checksum="c", changes=SymbolChanges(new=5))


def part(why: str = "", rows: int = 5) -> SymbolResult:
    return SymbolResult(status=SymbolStatus.HELD, rows=0, checksum="", held=rows, reasons=(why,))


def run(
    run_id: str,
    day: date,
    *,
    started: datetime | None = None,
    source: Source = Source.YAHOO,
    years: int = 1,
    judged: bool = True,
    fetch: dict[str, SymbolResult] | None = None,
    **symbols: SymbolResult,
) -> Answered:
    """A run for `day`; `fetch` has the symbols as fetch-historical left them, where that differs."""
    at = started or datetime(day.year, day.month, day.day, 21, tzinfo=UTC)
    fields = {
        "run_id": run_id,
        "batch_id": run_id,
        "batch_date": day,
        "source": source,
        "rows_in": 0,
        "rows_out": 0,
        "quarantined": 0,
        "code_version": "test",
        "started_at": at,
    }
    plain = {symbol: one.model_copy(update={"changes": None}) for symbol, one in symbols.items()}
    fetched = StageRecord.model_validate(
        fields
        | {
            "stage": "fetch-historical",
            "symbols": plain | (fetch or {}),
            "finished_at": at,
            "first_day": day - years * YEAR,
        }
    )
    done = StageRecord.model_validate(
        fields | {"stage": "validate-raw", "symbols": symbols, "finished_at": at + timedelta(minutes=1)}
    )
    return Answered.of(fetched, done if judged else None)


def decided(action: str, run_id: str, symbol: str = "AAPL") -> Decision:
    fields = {"action": action, "symbol": symbol, "run_id": run_id, "by": "kim", "reasons": (), "answer": None}
    return Decision.model_validate(fields | {"decided_at": datetime(2026, 8, 9, tzinfo=UTC)})


def names(holds: list[Hold]) -> list[tuple[str, str]]:
    return [(hold.symbol, hold.run_id) for hold in holds]


def test_a_symbol_is_held_until_a_later_run_brings_it() -> None:
    held = run("mon", MONDAY, AAPL=part("odd"), MSFT=GOOD)
    assert names(held_now([held], [])) == [("AAPL", "mon")]
    (hold,) = held_now([held], [])
    assert (hold.reasons, hold.rows, hold.stage, hold.since) == (("odd",), 5, "fetch-historical", hold)
    tuesday = MONDAY + timedelta(days=1)
    assert held_now([held, run("tue", tuesday, AAPL=GOOD)], []) == []
    assert names(held_now([held, run("tue", tuesday, MSFT=GOOD)], [])) == [("AAPL", "mon")]
    # It is the facts that count: a run whose batch was rejected as a whole has recorded none.
    rejected = run("tue", tuesday, AAPL=GOOD.model_copy(update={"changes": None}))
    assert names(held_now([held, rejected], [])) == [("AAPL", "mon")]
    assert names(held_now([held, run("tue", tuesday, judged=False, AAPL=GOOD)], [])) == [("AAPL", "mon")]


def test_a_run_that_does_not_reach_the_date_leaves_it_held() -> None:
    held = run("mon", MONDAY, AAPL=part())
    late = datetime(2026, 9, 1, tzinfo=UTC)
    assert names(held_now([held, run("past", date(2024, 7, 5), started=late, AAPL=GOOD)], [])) == [("AAPL", "mon")]
    past = run("past", date(2024, 7, 5), started=late, AAPL=part())
    after = run("next", MONDAY + timedelta(days=30), started=late + timedelta(days=1), AAPL=GOOD)
    assert names(held_now([held, past, after], [])) == [("AAPL", "past")]
    assert names(held_now([held, past], [])) == [("AAPL", "past"), ("AAPL", "mon")]


def test_another_sources_rows_bring_nothing() -> None:
    held = run("mon", MONDAY, AAPL=part())
    assert names(held_now([held, run("tue", MONDAY, source=Source.SIMULATED, AAPL=GOOD)], [])) == [("AAPL", "mon")]


def test_several_nights_are_one_hold_since_the_first() -> None:
    nights = [run(f"night{n}", MONDAY + timedelta(days=n), AAPL=part(f"odd {n}")) for n in range(3)]
    (hold,) = held_now(nights, [])
    assert (hold.run_id, hold.reasons) == ("night2", ("odd 2",))
    assert [each.run_id for each in hold.earlier] == ["night0", "night1"]
    assert hold.since.run_id == "night0"
    assert held_now(nights, [decided("drop", "night2")]) == []
    # A decision on an earlier one's answer leaves the newest to be decided.
    (hold,) = held_now(nights, [decided("drop", "night0")])
    assert (hold.run_id, hold.since.run_id) == ("night2", "night1")


def test_what_is_held_later_is_a_matter_of_its_own() -> None:
    night = [run(f"night{n}", MONDAY + timedelta(days=n), AAPL=part()) for n in range(2)]
    assert names(held_now(night, [decided("drop", "night0")])) == [("AAPL", "night1")]


def test_a_decision_is_for_the_answer_that_there_was() -> None:
    held = run("mon", MONDAY, AAPL=part("no answer", rows=0))
    assert held_now([held], [decided("drop", "mon")]) == []
    ref = ObjectRef(key="raw/source/run_id=mon/AAPL.parquet", rows=5, size=9, sha256="x", symbol="AAPL")
    retried = replace(held, held=tuple(replace(hold, answer=ref) for hold in held.held))
    (hold,) = held_now([retried], [decided("drop", "mon")])
    assert (hold.answer, hold.decision) == (ref, None)


def test_a_release_is_done_when_its_run_has_recorded_the_facts() -> None:
    held = run("mon", MONDAY, AAPL=part())
    (hold,) = held_now([held], [decided("release", "mon")])
    assert hold.decision is not None
    assert hold.decision.by == "kim"
    later = datetime(2026, 8, 5, tzinfo=UTC)
    sent = run(release_run_id("mon", "AAPL"), MONDAY, started=later, AAPL=GOOD)
    assert held_now([held, sent], [decided("release", "mon")]) == []


def test_replayed_batches_count_by_the_evening_that_they_play() -> None:
    """Whatever the order in which they were run."""
    now = datetime(2026, 8, 3, 12, tzinfo=UTC)
    early = run("early", date(2005, 2, 25), source=Source.REPLAY, started=now, AAPL=part())
    late = run("late", date(2005, 2, 28), source=Source.REPLAY, started=now - timedelta(hours=1), AAPL=GOOD)
    assert held_now([early, late], []) == []


def test_a_retry_of_the_fetch_counts_before_its_judgement() -> None:
    at = datetime(2026, 8, 3, 21, tzinfo=UTC)
    old = run("mon", MONDAY, AAPL=GOOD)
    assert old.brought == ("AAPL",)
    fields = {
        "run_id": "mon",
        "batch_id": "mon",
        "batch_date": MONDAY,
        "source": Source.YAHOO,
        "rows_in": 0,
        "rows_out": 0,
        "quarantined": 0,
        "code_version": "test",
        "started_at": at,
        "stage": "fetch-historical",
    }
    again = StageRecord.model_validate(fields | {"symbols": {"AAPL": part()}, "finished_at": at + timedelta(minutes=5)})
    judged = again.model_copy(update={"stage": "validate-raw", "symbols": {"AAPL": GOOD}, "finished_at": at})
    assert Answered.of(again, judged).brought == ()
    assert [hold.symbol for hold in Answered.of(again, judged).held] == ["AAPL"]


def test_a_symbol_that_validation_holds() -> None:
    (hold,) = held_now([run("mon", MONDAY, fetch={"AAPL": GOOD}, AAPL=part("moved", rows=7))], [])
    assert (hold.stage, hold.rows, hold.reasons) == ("validate-raw", 7, ("moved",))


@given(st.permutations([0, 1, 2, 3, 4]))
def test_the_order_of_reading_does_not_matter(order: list[int]) -> None:
    aapl, msft = [part(), GOOD, part(), part(), part()], [GOOD, GOOD, part(), GOOD, GOOD]
    # Neither does how the runs are called.
    runs = [run(f"run{9 - n}", MONDAY + timedelta(days=n), AAPL=aapl[n], MSFT=msft[n]) for n in range(5)]
    holds = held_now([runs[place] for place in order], [])
    assert names(holds) == [("AAPL", "run5")]
    assert [each.run_id for each in holds[0].earlier] == ["run7", "run6"]


def test_the_run_of_a_release_is_a_function_of_what_was_held() -> None:
    assert release_run_id("a", "AAPL") == release_run_id("a", "AAPL") == "a.release-AAPL"
    long = ["x" * 249 + end for end in "ab"]
    ids = {release_run_id(run_id, "BRK-B") for run_id in long}
    assert len(ids) == 2
    assert max(map(len, ids)) <= 250
