"""A held symbol from the source's odd answer to a person's decision: released, dropped, or neither."""

import json
import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import HttpUrl
from yahoo_rig import HttpAnswer, answering, case, changed, chart

from consume_historical.validate_stage import ValidateSettings, validate_run
from fetch_historical.answer_comparison import compared
from fetch_historical.settings import YahooSettings
from ticklake import calendar, held_symbols, history, keys, lineage
from ticklake.batch_checks import QualitySettings
from ticklake.batch_stage import Run
from ticklake.catalog import LakeTables, matching
from ticklake.errors import ConfigurationError, ExitCode
from ticklake.held_symbols import HeldSymbols
from ticklake.records import Source, SymbolStatus
from ticklake.tables import DAILY_BARS

DAY = date(2026, 8, 7)
BEFORE = date(2026, 8, 6)
DAYS = calendar.sessions("XNYS", date(2026, 7, 20), DAY)
NINE = tuple(f"GOOD{n}" for n in range(9))
ASK = {"attempts": 2, "backoff_base_seconds": 0.01, "backoff_cap_seconds": 0.05, "timeout_seconds": 2}


def good(symbol: str, days=DAYS) -> HttpAnswer:
    return chart(symbol, days, [100.0 + n for n in range(len(days))])


def jumped(symbol: str, at: float, days=DAYS) -> HttpAnswer:
    """One wrong price among good ones: nothing doubts it but the checks of the whole batch."""
    return changed(good(symbol, days), **{name: {7: at} for name in ("open", "high", "low", "close", "adjclose")})


@pytest.fixture
def stages(fetch, consume, store, store_settings, catalog_settings):
    """Runs the stages up to the facts; `answers` is what the source answers, nothing of it for a release."""

    def run(
        the_run: str, day: date = DAY, answers: dict[str, HttpAnswer] | None = None, *, judged: bool = True, **more
    ):
        with answering({symbol: good(symbol) for symbol in NINE} | (answers or {})) as (url, script):
            asked = {"symbols": (*NINE, *(answers or {})), "yahoo": YahooSettings(endpoint=HttpUrl(url), **ASK)} | more
            fetched = fetch(day=day, source=Source.YAHOO, the_run=the_run, **asked)
            silent = script.asked == []
        assert silent == ("released_from" in more)
        if not judged:
            return fetched
        consume(day=day, the_run=the_run)
        settings = ValidateSettings(
            store=store_settings, catalog=catalog_settings, quality=QualitySettings(max_daily_move=0.5)
        )
        record, _ = validate_run(settings, Run(the_run, day))
        lineage.write(store, record)
        return record

    return run


@pytest.fixture
def release(stages, store):
    """A person's release, and the stages of its run."""

    def run(symbol: str = "AAPL", by: str = "kim", of: str | None = None):
        found = held_symbols.decide(store, "release", symbol, by, of)
        record = stages(found.release_run_id, found.batch_date, symbols=(symbol,), released_from=found.decision.run_id)
        return found, record

    return run


@pytest.fixture
def bars(catalog_settings, store_settings):
    """The versions of a symbol's bars in the lake, in order."""

    def read(symbol: str = "AAPL"):
        tables = LakeTables(catalog_settings, store_settings)
        rows = tables.read("market", DAILY_BARS, matching(symbol=[symbol])).to_pylist()
        return sorted(rows, key=lambda row: (row["session_date"], row["known_at"]))

    return read


@pytest.fixture
def now(store):
    return lambda: {(hold.symbol, hold.run_id): hold for hold in HeldSymbols(store).now()}


ODD = pytest.mark.parametrize(
    ("answer", "stage", "reason"),
    [
        (case("split_recorded_not_applied"), "fetch-historical", "not adjusted for it"),
        (case("answer_of_another_symbol"), "fetch-historical", "the answer is of MSFT"),
        (case("null_and_fractional_volume"), "validate-raw", "rows in quarantine"),
        (jumped("AAPL", 170.0), "validate-raw", "greatest daily move"),
    ],
    ids=["split", "other", "quarantine", "move"],
)


def test_a_released_answer_goes_on_without_the_dividend_that_its_prices_cannot_be_adjusted_for(
    stages, release, catalog_settings, store_settings
):
    stages("odd", answers={"AAPL": case("dividend_in_another_currency")})
    _, record = release()
    assert (record.symbols["AAPL"].status, record.symbols["AAPL"].changes.new) == (SymbolStatus.OK, 15)
    rows = history.bars(LakeTables(catalog_settings, store_settings), "AAPL", Source.YAHOO, adjust="all")
    assert rows["close"].to_pylist() == [100.0 + n for n in range(15)]


@ODD
def test_a_release_sends_the_stored_answer(stages, release, bars, now, answer, stage, reason):
    started = datetime.now(UTC)
    before = stages("first", BEFORE, {"AAPL": good("AAPL", DAYS[:-1])})
    known, others = bars(), [bars(symbol) for symbol in NINE]
    judged = stages("odd", answers={"AAPL": answer})
    assert judged.symbols["AAPL"].status is SymbolStatus.HELD
    (hold,) = now().values()
    assert (hold.symbol, hold.run_id, hold.stage, hold.source) == ("AAPL", "odd", stage, Source.YAHOO)
    assert any(reason in line for line in hold.reasons)
    assert hold.rows > 10
    assert bars() == known

    found, record = release()
    assert (found.made, found.done, found.batch_date) == (True, False, DAY)
    part = record.symbols["AAPL"]
    assert part.status is SymbolStatus.OK
    assert part.changes.new + part.changes.unchanged + part.changes.revised == part.rows > 10
    assert record.symbols.keys() == {"AAPL"}
    assert now() == {}
    added = [row for row in bars() if row["batch_id"] == found.release_run_id]
    assert added
    assert [row for row in bars() if row["batch_id"] != found.release_run_id] == known
    # Known from the decision on: what was read as of a moment before stays as it was.
    assert {row["known_at"] for row in added} == {found.decision.decided_at}
    assert found.decision.decided_at >= started - timedelta(milliseconds=1)
    assert [[row for row in bars(symbol) if row["batch_date"] == BEFORE] for symbol in NINE] == others
    assert before.symbols["AAPL"].changes.new == len(DAYS) - 1
    if stage == "validate-raw":
        assert any("goes on, as it was released by kim" in note and reason in note for note in record.notes)


def test_the_same_release_again_adds_nothing(stages, release, bars, store):
    stages("odd", answers={"AAPL": case("split_recorded_not_applied")})
    first, record = release()
    rows = bars()
    again, repeated = release(by="lee")
    assert (again.made, again.decision) == (False, first.decision)
    assert repeated.symbols == record.symbols
    assert bars() == rows
    assert [info.key for info in store.list_objects("held/")] == [keys.held_decision_key("odd", "AAPL")]
    assert json.loads(store.get(keys.held_decision_key("odd", "AAPL")))["by"] == "kim"


def test_a_release_cut_short_is_still_held_and_goes_on(stages, release, bars, now, store):
    stages("odd", answers={"AAPL": case("split_recorded_not_applied")})
    found = held_symbols.decide(store, "release", "AAPL", "kim")
    stages(found.release_run_id, symbols=("AAPL",), released_from="odd", judged=False)
    assert bars() == []
    assert now()["AAPL", "odd"].decision == found.decision
    again, record = release()
    assert again.decision == found.decision
    assert len(bars()) == record.rows_out == 15
    assert now() == {}


def test_a_later_doubtful_answer_is_held_again(stages, release, now):
    stages("odd", BEFORE, {"AAPL": jumped("AAPL", 300.0, DAYS[:-1])})
    release()
    assert now() == {}
    stages("again", answers={"AAPL": jumped("AAPL", 400.0)})
    assert now().keys() == {("AAPL", "again")}


def test_several_nights_and_an_earlier_ones_answer(stages, release, now, bars):
    stages("one", BEFORE, {"AAPL": jumped("AAPL", 300.0, DAYS[:-1])})
    stages("two", answers={"AAPL": jumped("AAPL", 400.0)})
    assert [hold.since.run_id for hold in now().values()] == ["one"]
    # The earlier one by name; the newest is still to be decided.
    release(of="one")
    assert now().keys() == {("AAPL", "two")}
    release()
    assert now() == {}
    (wrong,) = [row for row in bars() if row["session_date"] == DAYS[7]][-1:]
    assert wrong["close"] == 400


def test_a_drop_sets_the_answer_aside_and_the_next_run_asks(stages, store, now, bars):
    stages("odd", answers={"AAPL": jumped("AAPL", 300.0)})
    dropped = held_symbols.decide(store, "drop", "AAPL", "kim")
    assert (dropped.made, dropped.done) == (True, True)
    assert held_symbols.decide(store, "drop", "AAPL", "lee").decision == dropped.decision
    assert now() == {}
    assert bars() == []
    with pytest.raises(ConfigurationError, match=r"cannot be released: it was dropped by kim at .*asks again"):
        held_symbols.decide(store, "release", "AAPL", "lee")
    assert store.get(keys.source_answer_key("odd", "AAPL"))
    assert stages("next", answers={"AAPL": good("AAPL")}).symbols["AAPL"].rows == len(DAYS)


def test_no_answer_can_be_dropped_but_not_released(stages, store, now):
    stages("odd", answers={"ODD": case("http_422")})
    assert now()["ODD", "odd"].answer is None
    with pytest.raises(ConfigurationError, match=r"run odd has no answer for ODD that could be released .*asks again"):
        held_symbols.decide(store, "release", "ODD", "kim")
    assert held_symbols.decide(store, "drop", "ODD", "kim").done
    assert now() == {}


def test_what_cannot_be_decided(stages, store):
    with pytest.raises(ConfigurationError, match=r"^AAPL is not held; nothing is$"):
        held_symbols.decide(store, "release", "AAPL", "kim")
    stages("odd", answers={"AAPL": jumped("AAPL", 300.0)})
    with pytest.raises(ConfigurationError, match=r"^ZZZZ is not held; held now: AAPL$"):
        held_symbols.decide(store, "drop", "ZZZZ", "kim")
    with pytest.raises(ConfigurationError, match=r"^AAPL is not held by run other; held now: AAPL$"):
        held_symbols.decide(store, "release", "AAPL", "kim", "other")
    with pytest.raises(ConfigurationError, match="who decides"):
        held_symbols.decide(store, "release", "AAPL", " ")
    assert list(store.list_objects("held/")) == []


@pytest.mark.parametrize("spoil", ["gone", "changed"])
@pytest.mark.parametrize("decided", [False, True], ids=["before", "after"])
def test_an_answer_that_is_gone_or_changed(stages, release, store, bars, spoil, decided):
    stages("odd", answers={"AAPL": jumped("AAPL", 300.0)})
    if decided:
        held_symbols.decide(store, "release", "AAPL", "kim")
    key = keys.source_answer_key("odd", "AAPL")
    if spoil == "gone":
        store.delete(key)
    else:
        stages("other", answers={"AAPL": good("AAPL")}, judged=False)
        store.put(key, store.get(keys.source_answer_key("other", "AAPL")))
        store.delete("lineage/run_id=other/fetch-historical.json")
    with pytest.raises(ConfigurationError, match=f"{key} .*drop it, and the next run asks again") as caught:
        release()
    assert caught.value.exit_code == ExitCode.UNUSABLE
    assert bars() == []
    if not decided:
        assert held_symbols.decide(store, "drop", "AAPL", "kim").done


def test_nothing_is_sent_that_nobody_released(stages, store):
    stages("odd", answers={"AAPL": jumped("AAPL", 300.0)})
    the_run = keys.release_run_id("odd", "AAPL")
    with pytest.raises(ConfigurationError, match="nobody has decided on AAPL of run odd"):
        stages(the_run, symbols=("AAPL",), released_from="odd")
    with pytest.raises(ConfigurationError, match=r"is the run odd\.release-AAPL, not mine"):
        stages("mine", symbols=("AAPL",), released_from="odd")
    held_symbols.decide(store, "drop", "AAPL", "kim")
    with pytest.raises(ConfigurationError, match=r"was dropped by kim at .*, not released"):
        stages(the_run, symbols=("AAPL",), released_from="odd")


def test_of_two_people_who_decide_at_once_one_is_rejected(stages, store):
    stages("odd", answers={"AAPL": jumped("AAPL", 300.0)})
    both, results = threading.Barrier(8), []

    def decide(place: int) -> None:
        both.wait()
        try:
            found = held_symbols.decide(store, "release" if place % 2 else "drop", "AAPL", f"person {place}")
            results.append(("made" if found.made else "same", found.decision))
        except ConfigurationError as error:
            results.append(("rejected", str(error)))

    people = [threading.Thread(target=decide, args=(place,)) for place in range(8)]
    for each in people:
        each.start()
    for each in people:
        each.join()
    kinds = [kind for kind, _ in results]
    assert (kinds.count("made"), kinds.count("same"), kinds.count("rejected")) == (1, 3, 4)
    (first,) = {decision for kind, decision in results if kind != "rejected"}
    assert all(first.description() in what for kind, what in results if kind == "rejected")


def test_the_program_keeps_the_decision(stages, program_of, store, now):
    stages("odd", answers={"AAPL": jumped("AAPL", 300.0)})
    done = program_of("held-symbol", "drop", "zzzz", "--by", "kim")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "held-symbol: ZZZZ is not held; held now: AAPL")
    done = program_of("held-symbol", "release", "aapl", "--by", "kim", "--run", "")
    assert done.returncode == 0, done.stderr
    assert now()["AAPL", "odd"].decision.by == "kim"


def test_the_answer_beside_what_is_known(stages, store, now, catalog_settings, store_settings):
    stages("first", BEFORE, {"AAPL": good("AAPL", DAYS[:-1])})
    stages("odd", answers={"AAPL": jumped("AAPL", 300.0)})
    hold = now()["AAPL", "odd"]
    rows = compared(LakeTables(catalog_settings, store_settings), hold.source, held_symbols.check_answer(store, hold))
    assert [row.session for row in rows] == list(DAYS)
    assert (rows[7].close, rows[7].known_close, rows[7].verdict) == (300, 107, "+180.37%")
    assert {row.verdict for row in (*rows[:7], *rows[8:-1])} == {""}
    assert (rows[-1].verdict, rows[-1].known_close) == ("new", None)
