"""What the platform view shows of the quarantine."""

from datetime import UTC, datetime

import pytest
from browser_rig import PHONE

from ticklake.objects import ObjectStore
from ticklake.quarantine import put, quarantined
from ticklake.quarantine_decisions import decide

AT = datetime(2026, 1, 30, 22, 30, tzinfo=UTC)
CARD = "section:has(> header:has-text('Quarantine'))"


@pytest.fixture
def messages(empty_lake):
    tick = quarantined(
        "archive-ticks",
        "price: must be positive",
        b'{"note": "<img src=x>"}\x00',
        key=b"AAPL",
        topic="stock-market-realtime",
        partition=2,
        offset=7,
        record_time=AT,
    )
    row = quarantined("fetch-historical", "no session", b"{}", run_id="night", symbol="IBM", position=3, record_time=AT)
    put(ObjectStore(empty_lake.store), [tick, row])
    return tick, row


@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
def test_search_and_one_message_in_full(new_site, visit, empty_lake, messages, size):
    from axe_playwright_python.sync_playwright import Axe

    tick, row = messages
    page = visit(new_site(empty_lake).server.url, viewport=size).open("#/platform", ready=f"{CARD} tbody tr")
    card = page.tab.locator(CARD)
    assert card.locator("tbody tr").count() == 2
    card.get_by_label("Search").fill("POSITIVE")
    page.until(f"document.querySelectorAll(\"[data-key='look-{row.id}']\").length === 0")
    assert card.locator("tbody tr").count() == 1
    card.get_by_role("button", name=tick.id[:8]).click()
    card.locator("dt", has_text="Stage").wait_for()
    shown = card.locator(".quarantined").inner_text()
    for part in ("price: must be positive", "stock-market-realtime partition 2 offset 7", "AAPL", "24 bytes"):
        assert part in shown
    for part in ('{"note": "<img src=x>"}·', "7b 22 6e", f"ticklake quarantine mend {tick.id} --value FILE"):
        assert part in shown
    found = Axe().run(page.tab).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    decide(ObjectStore(empty_lake.store), tick, "drop", "kim")
    card.locator("dd", has_text="dropped by kim").wait_for()
    card.get_by_text("Nothing is found").wait_for()
    card.get_by_label("also decided").check()
    card.locator("tbody tr", has_text="dropped by kim").wait_for()
    card.get_by_role("button", name="Close").click()
    card.locator(".quarantined").wait_for(state="detached")
    card.get_by_label("Search").fill("")
    card.get_by_label("Run").fill("night")
    card.locator("tbody tr", has_text="no session").wait_for()
