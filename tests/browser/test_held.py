"""What the platform view shows of held symbols."""

from datetime import UTC, date, datetime

import pytest
from browser_rig import PHONE

from ticklake import held_symbols, lineage
from ticklake.lineage import ObjectRef, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.records import Source, SymbolStatus

AT = datetime(2026, 1, 30, 22, 30, tzinfo=UTC)
CARD = "section:has(> header:has-text('Held symbols'))"


@pytest.fixture
def held_site(new_site, empty_lake):
    odd = {"AAPL": "dividends in <VND>, prices in USD", "ODD": "HTTP 422"}
    symbols = {
        symbol: SymbolResult(status=SymbolStatus.HELD, rows=0, checksum="", held=251, reasons=(reason,))
        for symbol, reason in odd.items()
    }
    answer = ObjectRef(key="raw/source/run_id=night/AAPL.parquet", rows=251, size=9, sha256="x", symbol="AAPL")
    lineage.write(
        ObjectStore(empty_lake.store),
        StageRecord(
            stage="fetch-historical",
            run_id="night",
            batch_id="night",
            batch_date=date(2026, 1, 30),
            source=Source.YAHOO,
            rows_in=0,
            rows_out=0,
            quarantined=0,
            symbols=symbols,
            objects=(answer,),
            started_at=AT,
            finished_at=AT,
            code_version="x",
        ),
    )
    return new_site(empty_lake)


@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
def test_what_is_held_since_when_why_and_what_to_do(held_site, visit, empty_lake, size):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(held_site.server.url, viewport=size).open("#/platform", ready=f"{CARD} tbody tr")
    rows = page.tab.locator(f"{CARD} tbody tr").all_inner_texts()
    for part in ("AAPL", "30 Jan 2026", "night", "251", "dividends in <VND>, prices in USD", "held release AAPL"):
        assert part in rows[0]
    # Where there was no answer, there is nothing to release.
    assert "held drop ODD" in rows[1]
    found = Axe().run(page.tab).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    store = ObjectStore(empty_lake.store)
    for symbol in ("AAPL", "ODD"):
        held_symbols.decide(store, "drop", symbol, "kim")
    page.tab.locator(CARD, has_text="Nothing is held").wait_for()
