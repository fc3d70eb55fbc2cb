"""The page's date picker "as known on", and the choice of adjustment, over a split that came later."""

from datetime import date

import pytest
from dashboard_rig import Lake, run_batch

from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings

BEFORE, SPLIT = date(2005, 2, 25), date(2005, 2, 28)
"""AAPL's last session before its split 2:1, and the day of the split."""
CLOSES = {BEFORE: 88.99, SPLIT: 44.86}
"""As traded."""


@pytest.fixture(scope="module")
def split_site(chromium, local_platform, programs, tmp_path_factory):
    """A dashboard on a lake that AAPL was fetched into on both days."""
    from browser_rig import site_running

    store = local_platform.store.model_copy(update={"bucket": "as-known"})
    ObjectStore(store).create_bucket()
    folder = tmp_path_factory.mktemp("as-known")
    lake = Lake(store, CatalogSettings(uri=f"sqlite:///{folder}/catalog.db"))
    # The first as far as its facts, the second with the analytics of both.
    for day, stages in ((BEFORE, 3), (SPLIT, 4)):
        run_batch(local_platform, programs, lake, ("AAPL", "IBM"), day, f"run {day}", stages)
    with site_running(local_platform, programs, lake, folder, ticks=False) as running:
        running.server.wait("/symbols", lambda answer: any(item["sessions"] for item in answer["items"]))
        yield running


def candles(page, close):
    """The daily candles once the last one's close is as given, by day."""
    page.until(f"Math.abs((window.ticklake?.chart('daily')?.series.candles.at(-1).close ?? 0) - {close}) < 0.005")
    return {each["time"]: each for each in page.chart("daily")["series"]["candles"]}


def test_the_history_as_known_before_a_split_and_now(split_site, visit):
    page = visit(split_site.server.url).open("#/chart/AAPL?adjust=splits", ready=".chart")
    now = candles(page, CLOSES[SPLIT])
    assert now[str(BEFORE)]["close"] == pytest.approx(CLOSES[BEFORE] / 2, abs=0.005)
    assert page.tab.is_hidden(".known button")
    assert "as known on 28 Feb 2005" in page.text("#chart-summary")

    page.tab.fill(".known input", str(BEFORE))
    then = candles(page, CLOSES[BEFORE])
    assert max(then) == str(BEFORE)
    assert "as_of=2005-02-25" in page.tab.url
    assert "adjust=splits" in page.tab.url
    assert "Adjusted for splits, as known on 25 Feb 2005" in page.text("#chart-summary")
    assert page.tab.evaluate("document.activeElement.type") == "date", "who types a date keeps the focus"
    page.tab.click("summary:has-text('Export')")
    link = page.tab.get_attribute("[aria-label='Daily bars of AAPL as CSV']", "href")
    rows = split_site.server.get("/" + link)[2].decode().splitlines()
    assert rows[-1].split(",")[0] == str(BEFORE)
    assert float(rows[-1].split(",")[4]) == pytest.approx(CLOSES[BEFORE])
    page.tab.keyboard.press("Escape")

    sma = "window.ticklake.chart('daily').series.sma_20.at(-1).value"
    assert page.tab.evaluate(sma) > 70  # on the basis before the split
    page.tab.click(".known button")
    candles(page, CLOSES[SPLIT])
    assert "as_of" not in page.tab.url
    assert page.tab.input_value(".known input") == ""
    assert page.tab.evaluate(sma) < 50

    page.tab.click("[aria-label='Prices adjusted for'] button:has-text('As traded')")
    page.until(f"window.ticklake.chart('daily')?.series.candles.at(-2).close > {CLOSES[SPLIT] * 1.5}")
    assert "As traded, adjusted for nothing" in page.text("#chart-summary")


def test_days_that_cannot_be_shown_say_why(split_site, visit):
    page = visit(split_site.server.url, away=True).open("#/chart/AAPL?as_of=2004-02-25", ready=".notice")
    page.wait_text(".notice", "nothing of AAPL was known at 2004-02-25")
    page.open("#/chart/AAPL?as_of=soon", ready=None)
    page.wait_text(".notice", "'soon' is neither a date")
    page.tab.click(".known button")
    candles(page, 44.86)


def test_compare_and_risk_follow_the_day(split_site, visit):
    page = visit(split_site.server.url).open(f"#/compare?symbols=AAPL,IBM&as_of={BEFORE}", ready=".chart")
    last = "window.ticklake.chart('compare')?.series.AAPL.at(-1).time"
    page.until(f"{last} === '{BEFORE}'")
    page.tab.click(".known button")
    page.until(f"{last} === '{SPLIT}'")
    page.open("#/risk", ready=".matrix td")
    page.tab.fill(".known input", str(BEFORE))
    page.wait_text(".summary", "to 25 Feb 2005")
