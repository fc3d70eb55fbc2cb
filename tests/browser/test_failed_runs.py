"""What the platform view shows of stages that failed, for good or until their retry."""

from datetime import UTC, date, datetime, timedelta

import pytest
from browser_rig import PHONE

from ticklake import lineage, runs
from ticklake.lineage import StageFailure, StageRecord
from ticklake.objects import ObjectStore
from ticklake.records import Source

START = datetime(2026, 1, 30, 22, 30, tzinfo=UTC)
OPEN, RECOVERED = "manual__2026-01-30T22:30:00+00:00", "scheduled__2026-01-29T22:30:00+00:00"


def failure(run: str, stage: str, minute: int, kind: str, reason: str, code: int) -> StageFailure:
    at = START + timedelta(minutes=minute)
    return StageFailure(
        stage=stage,
        run_id=run,
        batch_date=date(2026, 1, 30),
        kind=kind,
        reason=reason,
        exit_code=code,
        started_at=at,
        failed_at=at + timedelta(seconds=20),
        code_version="abc",
    )


def record(run: str, stage: str, minute: int) -> StageRecord:
    at = START + timedelta(minutes=minute)
    return StageRecord(
        stage=stage,
        run_id=run,
        batch_id=run,
        batch_date=date(2026, 1, 30),
        source=Source.YAHOO,
        rows_in=10,
        rows_out=10,
        quarantined=0,
        symbols={},
        started_at=at,
        finished_at=at + timedelta(seconds=30),
        code_version="abc",
    )


@pytest.fixture
def failed_site(new_site, empty_lake):
    store = ObjectStore(empty_lake.store)
    lineage.write(store, record(RECOVERED, "fetch-historical", 0))
    runs.write_failure(store, failure(RECOVERED, "consume-historical", 1, "StageError", "the broker went away", 1))
    lineage.write(store, record(RECOVERED, "consume-historical", 9))
    lost = failure(OPEN, "fetch-historical", 1, "ConfigurationError", "TICKLAKE_SOURCE is yahoo-eu: unknown", 2)
    for _ in range(2):
        runs.write_failure(store, lost)
    return new_site(empty_lake)


@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
def test_a_failure_that_is_open_and_one_that_recovered(failed_site, visit, size):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(failed_site.server.url, viewport=size).open(f"#/platform/{OPEN}", ready=".runs tbody tr")
    rows = {row.get_attribute("data-run"): row.inner_text() for row in page.tab.query_selector_all(".runs tbody tr")}
    assert "✖ failed\nfetch-historical" in rows[OPEN]
    assert "◔ 2 of 7 stages" in rows[RECOVERED]
    assert "after 1 failed try" in rows[RECOVERED]

    card = "[aria-labelledby=card-failures]"
    page.wait_text(card, "TICKLAKE_SOURCE is yahoo-eu: unknown")
    text = page.text(card)
    for part in ("ConfigurationError", "exit code 2: a retry does not help", "2 ×", "✖ open", "30 Jan 2026"):
        assert part in text
    assert "17:31:20" in text, "New York's time of 22:31:20 UTC"
    page.wait_text("[aria-labelledby=card-stages]", "✖ failed try")
    assert page.tab.locator(".lineage").count() == 0, "nothing went anywhere"

    page.tab.click(f"a[data-key='{RECOVERED}']")
    page.wait_text(card, "the broker went away")
    text = page.text(card)
    for part in ("StageError", "exit code 1: a retry may help", "1 ×", "✔ a retry went well", "17:39:30"):
        assert part in text
    stages = page.tab.locator("[aria-labelledby=card-stages] tbody th").all_inner_texts()
    assert [stage.split("\n")[0] for stage in stages] == [
        "fetch-historical",
        "consume-historical",
        "consume-historical",
    ]
    assert ["failed try" in stage for stage in stages] == [False, True, False], "in the order of time"
    found = Axe().run(page.tab).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = "(all) => all.filter((each) => each.scrollWidth > each.clientWidth).length"
    assert page.tab.eval_on_selector_all(".scroll", wide) == 0
