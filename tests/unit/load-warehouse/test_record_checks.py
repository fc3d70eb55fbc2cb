"""What the records of a run say of each other, with symbols that are held."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from memory_store import MemoryStore

from load_warehouse.record_checks import Records, quarantine_faults, record_faults
from ticklake.lineage import StageRecord, SymbolChanges, SymbolResult
from ticklake.pipeline import SUCCESS
from ticklake.quarantine import put, quarantined
from ticklake.records import Source, SymbolStatus

AT = datetime(2026, 8, 7, 22, tzinfo=UTC)
STAGES = tuple(stage.program for stage in SUCCESS.upstream)
OK = SymbolResult(rows=5, checksum="five", changes=SymbolChanges(unchanged=5))
HELD = SymbolResult(status=SymbolStatus.HELD, rows=0, checksum="none", reasons=("odd",))


def record(stage: str, symbols: dict[str, SymbolResult], **more: Any) -> StageRecord:
    out, held = (sum(getattr(part, name) for part in symbols.values()) for name in ("rows", "held"))
    values = {"rows_in": out + held, "rows_out": out, "held": held} | more
    return StageRecord(
        stage=stage,
        run_id="r",
        batch_id="r",
        batch_date=date(2026, 8, 7),
        source=Source.YAHOO,
        quarantined=0,
        symbols=symbols,
        started_at=AT,
        finished_at=AT,
        code_version="x",
        **values,
    )


def records(*parts: SymbolResult, **changed: StageRecord) -> Records:
    """Of a run whose symbol B has `parts` stage by stage, beside a good symbol A."""
    made = {stage: record(stage, {"A": OK, "B": part}) for stage, part in zip(STAGES, parts, strict=True)}
    return made | {stage.replace("_", "-"): one for stage, one in changed.items()}


WAITS = HELD.model_copy(update={"held": 5})


@pytest.mark.parametrize("parts", [(WAITS, HELD, HELD, HELD, HELD), (OK, OK, WAITS, HELD, HELD), (HELD,) * 5])
def test_a_symbol_held_is_in_order(parts: tuple[SymbolResult, ...]) -> None:
    assert list(record_faults(records(*parts))) == []


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        (
            (OK, OK, HELD.model_copy(update={"held": 4}), HELD, HELD),
            "validate-raw B: 4 rows held, consume-historical had 5",
        ),
        ((OK, OK, WAITS, OK, OK), "daily-analytics B: is ok, though it was held before"),
        ((OK, HELD, HELD, HELD, HELD), "consume-historical B: 0 rows, fetch-historical had 5"),
        ((OK, OK, OK, HELD, HELD), "daily-analytics B: 0 rows, validate-raw had 5"),
        (
            (OK, OK, WAITS, HELD.model_copy(update={"rows": 5}), HELD),
            "daily-analytics B: 5 rows, though it was held before",
        ),
        ((WAITS, HELD, OK, OK, OK), "validate-raw B: is ok, though it was held before"),
    ],
)
def test_a_symbol_that_only_seems_held(parts: tuple[SymbolResult, ...], fault: str) -> None:
    assert fault in list(record_faults(records(*parts)))


def test_held_rows_that_do_not_add_up() -> None:
    wrong = record("validate-raw", {"A": OK, "B": WAITS}, held=4)
    found = list(record_faults(records(OK, OK, WAITS, HELD, HELD, validate_raw=wrong)))
    assert "validate-raw: 10 rows in, but 5 out + 0 quarantined + 4 held" in found
    assert "validate-raw: 4 rows held, but 5 by symbol" in found


def test_actions_in_quarantine_count_beside_rows() -> None:
    fetched = record("fetch-historical", {"A": OK.model_copy(update={"quarantined": 1, "actions_quarantined": 1})})
    rows = [
        quarantined("fetch-historical", "odd", b"{}", run_id="r", symbol="A", position=position, part=part)
        for position, part in ((3, None), (5, "split"), (5, "dividend"))
    ]
    for there in (rows[:1], rows[:2], rows):
        store = MemoryStore()
        put(store, there)
        put(store, there[:1])  # another writer grouped them otherwise
        faults = list(quarantine_faults(store, fetched))
        wrong = f"fetch-historical A: 2 rows quarantined, but {len(there)} in quarantine/run_id=r/A/"
        assert faults == ([] if len(there) == 2 else [wrong])
