"""validate-raw holds the symbols that break a limit; the run fails where there are too many of them."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, cast

import pytest

from consume_historical.validate_stage import Bar, ValidateSettings
from consume_historical.validate_stage import judge as judge_batch
from ticklake import calendar, lineage
from ticklake.batch_checks import QualityError, QualitySettings, finish_validation, validation_record
from ticklake.batch_stage import Stopwatch
from ticklake.lineage import ObjectRef, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.pipeline import VALIDATE_RAW
from ticklake.records import Source, SymbolStatus, batch_checksum
from ticklake.settings import CatalogSettings

DAY = date(2026, 8, 7)
SESSIONS = calendar.sessions("XNYS", date(2025, 8, 8), DAY)
AT = datetime(2026, 8, 7, 22, tzinfo=UTC)
GOOD = [Bar(day, 100.0 + n % 3, 100.0 + n % 3, 1000) for n, day in enumerate(SESSIONS)]
NINE = tuple(f"GOOD{n}" for n in range(9))


def changed(**by_place: dict[int, Any]) -> list[Bar]:
    rows = list(GOOD)
    for name, values in by_place.items():
        for place, value in values.items():
            rows[place] = rows[place]._replace(**{name: value})
    return rows


def prices(of: dict[int, float]) -> list[Bar]:
    return changed(close=of, adj_close=of)


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StageRecord]:
    """Judges nine good symbols and those of the test, without a store."""

    def run(
        bars: dict[str, list[Bar]],
        *,
        others: tuple[str, ...] = NINE,
        more: dict[str, SymbolResult] | None = None,
        quarantined: dict[str, int] | None = None,
        revised: dict[str, float] | None = None,
        great_dividends: dict[str, int] | None = None,
        ended: dict[str, date] | None = None,
        at: datetime = AT,
        **limits: float,
    ) -> StageRecord:
        bars = dict.fromkeys(others, GOOD) | bars
        symbols = {symbol: SymbolResult(rows=len(rows), checksum="c") for symbol, rows in bars.items()} | (more or {})
        odd = quarantined or {}
        rejected = {
            symbol: part.model_copy(update={"quarantined": odd.get(symbol, 0), "ended": (ended or {}).get(symbol)})
            for symbol, part in symbols.items()
        }
        total = sum(part.rows for part in symbols.values())

        def record(stage: str, parts: dict[str, SymbolResult], objects: tuple[ObjectRef, ...] = ()) -> StageRecord:
            return StageRecord(
                stage=stage,
                run_id="r",
                batch_id="r",
                batch_date=DAY,
                source=Source.YAHOO,
                rows_in=total,
                rows_out=total,
                quarantined=0,
                symbols=parts,
                objects=objects,
                started_at=at,
                finished_at=at,
                code_version="x",
            )

        refs = tuple(ObjectRef(key=symbol, rows=1, size=1, sha256="", symbol=symbol) for symbol in bars)
        records = {
            "fetch-historical": record("fetch-historical", rejected),
            "consume-historical": record("consume-historical", symbols, refs),
        }
        monkeypatch.setattr(lineage, "write", lambda _store, made: records.update({made.stage: made}))
        consumed = records["consume-historical"]
        catalog = CatalogSettings(uri="sqlite:///none")  # judging asks it for nothing
        settings = ValidateSettings(catalog=catalog, quality=QualitySettings(**limits))
        checks, held = judge_batch(
            settings, records["fetch-historical"], consumed, bars, revised or {}, (), great_dividends or {}
        )
        try:
            made = validation_record(VALIDATE_RAW, consumed, checks, Stopwatch(), "x", held)
            finish_validation(cast(ObjectStore, None), made)
            return made
        except QualityError:
            run.failed = records["validate-raw"]
            raise

    return run


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (prices({100: 300.0}), "greatest daily move: 2 of"),
        (prices({249: 250.0}), "greatest daily move: 1.45098 of"),
        (GOOD[:-25], "sessions behind: 25 sessions, at most 1 allowed"),
        (GOOD[-15:-8] + GOOD[-6:], "sessions missing: 0.133333 of a symbol's"),
        (changed(volume=dict.fromkeys(range(50, 100), 0)), "sessions without volume: 0.199203 of a symbol's"),
        ([*GOOD, GOOD[-1]], "sessions that are there twice: 1 sessions, at most 0"),
    ],
)
def test_one_odd_symbol_is_held_and_the_others_go_on(judge: Any, rows: list[Bar], reason: str) -> None:
    record = judge({"ODD": rows})
    part = record.symbols["ODD"]
    assert (part.status, part.rows, part.held, part.checksum) == (SymbolStatus.HELD, 0, len(rows), batch_checksum(()))
    assert any(line.startswith(reason) for line in part.reasons), part.reasons
    assert record.held_symbols().keys() == {"ODD"}
    assert {record.symbols[symbol].status for symbol in NINE} == {SymbolStatus.OK}
    assert (record.rows_in, record.rows_out, record.held) == (9 * len(GOOD) + len(rows), 9 * len(GOOD), len(rows))
    assert all(check.passed for check in record.checks)
    assert any(note.startswith("ODD is held: ") for note in record.notes)


@pytest.mark.parametrize(
    "rows",
    [
        changed(volume=dict.fromkeys(range(len(GOOD)), 0)),  # an index
        [*GOOD[:100], *(bar._replace(close=bar.close * 2, adj_close=bar.close * 2) for bar in GOOD[100:])],
        [*GOOD[:-1], Bar(DAY, 250.0, 250.0, 9000)],
        GOOD[:100] + GOOD[102:],
    ],
)
def test_what_is_no_error(judge: Any, rows: list[Bar]) -> None:
    record = judge({"ODD": rows})
    assert (record.held_symbols(), record.rows_out) == ({}, 9 * len(GOOD) + len(rows))


def test_a_symbol_whose_history_comes_in_other_values_is_held(judge: Any) -> None:
    record = judge({"ODD": GOOD}, revised={"ODD": 0.11, "GOOD1": 0.1})
    assert record.held_symbols() == {"ODD": ("known sessions revised: 0.11 of a symbol's, at most 0.1 allowed",)}


@pytest.mark.parametrize(
    ("at", "held"), [(datetime(2026, 8, 7, 14, tzinfo=UTC), False), (datetime(2026, 8, 7, 21, tzinfo=UTC), True)]
)
def test_a_session_that_was_open_when_the_source_was_asked_is_not_missed(judge: Any, at: datetime, held: bool) -> None:
    """The source is a session late, which it may be, and the batch's own has not closed."""
    assert bool(judge({"ODD": GOOD[:-2]}, at=at).held_symbols()) is held


def test_a_symbol_that_is_no_longer_traded_goes_on_however_old_its_last_bar(judge: Any) -> None:
    acquired = GOOD[:-25]
    assert judge({"ODD": acquired}, ended={"ODD": acquired[-1].session}).held_symbols() == {}
    # Its last bars are missing all the same.
    record = judge({"ODD": acquired[:-3]}, ended={"ODD": acquired[-1].session})
    assert record.held_symbols() == {"ODD": ("sessions behind: 3 sessions, at most 1 allowed",)}


def test_a_symbol_whose_history_could_not_be_adjusted_is_held(judge: Any) -> None:
    record = judge({"ODD": GOOD}, great_dividends={"ODD": 1})
    assert record.held_symbols() == {
        "ODD": ("dividends not below the close before them: 1 dividends, at most 0 allowed",)
    }


def test_rows_in_quarantine_hold_their_symbol(judge: Any) -> None:
    record = judge({"ODD": GOOD}, quarantined={"ODD": 14, "GOOD1": 13})
    assert record.held_symbols() == {"ODD": ("rows in quarantine: 0.0528302 of a symbol's, at most 0.05 allowed",)}


def test_too_many_held_fail_the_run_with_one_line(judge: Any) -> None:
    odd = {"ODD1": prices({100: 300.0}), "ODD2": GOOD[:-25]}
    with pytest.raises(QualityError) as caught:
        judge(odd, others=NINE[:8])
    assert "symbols held or without rows: 0.2 of all, at most 0.1 allowed" in str(caught.value)
    assert "ODD2: sessions behind: 25 sessions, at most 1 allowed" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert judge.failed.held_symbols().keys() == odd.keys()
    assert judge(odd, others=NINE[:8], max_failed_symbols=0.2).held == 2 * len(GOOD) - 25


def test_those_that_the_fetch_held_and_those_without_rows_count_too(judge: Any) -> None:
    held = SymbolResult(status=SymbolStatus.HELD, rows=0, checksum="", reasons=("the answer is of MSFT",))
    unknown = SymbolResult(status=SymbolStatus.UNKNOWN, rows=0, checksum="")
    record = judge({}, more={"HELD": held})
    assert record.held_symbols() == {"HELD": ("the answer is of MSFT",)}
    assert record.held == 0
    with pytest.raises(QualityError, match=r"0\.181818 of all, .*HELD: the answer is of MSFT, NONE: unknown"):
        judge({}, more={"HELD": held, "NONE": unknown})
