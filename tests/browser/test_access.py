"""Keyboard, screen reader, sizes and colours."""

import pytest
from browser_rig import DESKTOP, PHONE

VIEWS = {
    "#/watchlist": "#quotes tbody tr",
    "#/chart/AAPL?ind=sma_20,bollinger,rsi,macd": "#chart-summary time, #chart-summary .badge",
    "#/chart/AAPL?mode=15m": ".facts dd",
    "#/risk": ".matrix td",
    "#/compare": ".chart canvas",
    "#/platform": ".lineage svg",
    "#/alerts": "[data-alert]",
}


@pytest.fixture(scope="module")
def alerted(site):
    site.alert()
    site.alert(symbol="IBM", severity="critical", message="IBM fell 5.2 % within 1 hour")
    site.server.wait("/alerts", lambda answer: len(answer["items"]) == 2)
    return site


CASES = [("light", DESKTOP, view) for view in VIEWS if view != "#/watchlist"] + [
    ("dark", PHONE, view) for view in VIEWS
]
"""On a desktop the watchlist is no view of its own: it is shown beside every other."""


@pytest.mark.parametrize(("scheme", "size", "view"), CASES)
def test_axe_finds_nothing_serious(alerted, visit, view, scheme, size):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(alerted.server.url, color_scheme=scheme, viewport=size).open(view, ready=VIEWS[view])
    page.tab.wait_for_selector("#quotes tbody tr", state="attached")
    found = Axe().run(page.tab).response["violations"]
    faults = [f"{each['impact']} {each['id']}: {each['nodes'][0]['html'][:160]}" for each in found]
    print(f"\n{view} {scheme} {size['width']}: {faults}")
    assert [line for line in faults if line.startswith(("serious", "critical"))] == []


WIDTHS = (PHONE["width"], 390, 768, 1024, 1280, DESKTOP["width"])


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wider_than_the_page(alerted, visit, view):
    """Neither the page nor a table or graph on it has to be scrolled sideways, at any width."""
    page = visit(alerted.server.url).open(view, ready=None)
    page.tab.wait_for_selector(VIEWS[view], state="attached")
    page.tab.eval_on_selector_all("#panel details.data-table", "(all) => all.forEach((each) => (each.open = true))")
    for width in WIDTHS:
        page.tab.set_viewport_size({"width": width, "height": 800})
        page.tab.wait_for_timeout(300)
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.tab.eval_on_selector_all(
            ".scroll, .lineage",
            """(all) => all.filter((each) => each.offsetParent && each.scrollWidth > each.clientWidth)
                 .map((each) => `${each.getAttribute("aria-label")} ${each.scrollWidth} > ${each.clientWidth}`)""",
        )
        assert wide == [], width


def test_rows_are_blocks_of_labelled_values_where_columns_do_not_fit(alerted, visit):
    page = visit(alerted.server.url, viewport=PHONE).open("#/risk", ready=".matrix td")
    table = "[aria-label='Risk figures, table']"
    page.tab.wait_for_selector(f"{table}.stacked")
    label = "(cell) => getComputedStyle(cell, '::before').content"
    assert "Max drawdown" in page.tab.eval_on_selector(f"{table} tbody td:nth-child(3)", label)
    # To a screen reader it is a table all the same.
    tree = page.tab.locator(table).aria_snapshot()
    assert "columnheader" in tree
    assert "rowheader" in tree
    page.tab.set_viewport_size(DESKTOP)
    page.tab.wait_for_selector(f"{table}:not(.stacked)")
    assert page.tab.eval_on_selector(f"{table} tbody td:nth-child(3)", label) == "none"


@pytest.mark.parametrize("view", VIEWS)
def test_on_a_phone_all_can_be_hit(alerted, visit, view):
    page = visit(alerted.server.url, viewport=PHONE, has_touch=True, is_mobile=True).open(view, ready=VIEWS[view])
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for target in page.tab.query_selector_all("[role=tab]:visible, .tools button"):
        assert target.bounding_box()["height"] >= 34
    assert page.tab.locator("#state .badge").first.is_visible()


def test_everything_by_keyboard(alerted, visit):
    page = visit(alerted.server.url).open("#/chart/AAPL")
    page.chart("daily")
    press = page.tab.keyboard.press
    focused = "document.activeElement"
    press("Tab")
    assert page.tab.evaluate(f"{focused}.id") == "skip"
    outline = page.tab.evaluate(f"getComputedStyle({focused}).outlineStyle")
    assert outline == "solid"
    press("Enter")
    assert page.tab.evaluate(f"{focused}.id") == "panel"
    assert page.tab.url.endswith("#/chart/AAPL"), "skipping changes no view"
    # Tabs: one stop, arrows between them.
    page.tab.focus("#tab-chart")
    press("ArrowRight")
    assert page.tab.evaluate(f"{focused}.id") == "tab-risk"
    press("End")
    press("ArrowRight")
    assert page.tab.evaluate(f"{focused}.id") == "tab-chart", "round the end, past the phone's tab"
    press("ArrowRight")
    press("Space")
    page.tab.wait_for_selector(".matrix td")
    assert page.tab.get_attribute("#tab-risk", "aria-selected") == "true"
    press("Tab")
    assert page.tab.evaluate(f"{focused}.getAttribute('role')") != "tab", "the tab list is one stop"
    # Watchlist and chart.
    press("w")
    press("ArrowDown")
    assert page.tab.evaluate(f"{focused}.dataset.symbol") == "IBM"
    press("Enter")
    page.until("window.ticklake.chart('daily')?.symbol === 'IBM'")
    press("j")
    page.until("window.ticklake.chart('daily')?.symbol === 'MSFT'")
    press("c")
    press("ArrowLeft")
    assert page.tab.inner_text("#announcement").startswith("1 Mar 2013, open 27.")
    press("ArrowLeft")
    assert page.tab.inner_text("#announcement").startswith("28 Feb 2013")
    press("Home")
    assert page.tab.inner_text("#announcement").startswith("2 Mar 2012")
    before = page.chart("daily")["range"]
    press("+")
    span = "(({from, to}) => to - from)(window.ticklake.chart('daily').range)"
    page.until(f"{span} < {before['to'] - before['from']}")
    # Help, and no way out of it but by closing it.
    press("?")
    assert page.tab.is_visible("#help")
    for _ in range(5):
        press("Tab")
        assert page.tab.evaluate(f"{focused} === document.body || {focused}.closest('#help') !== null")
    press("Escape")
    assert not page.tab.is_visible("#help")
    press("4")
    page.tab.wait_for_selector(".lineage svg")
    press("1")
    page.tab.wait_for_selector(".chart canvas")
    page.tab.focus("button:has-text('RSI')")
    press("Space")
    page.until("window.ticklake.chart('daily')?.panes.length === 2")
    assert page.tab.evaluate(f"{focused}.innerText") == "RSI", "the switch keeps the focus"


def test_shortcuts_can_be_switched_off(site, visit):
    page = visit(site.server.url).open("#/chart/AAPL")
    page.tab.keyboard.press("?")
    page.tab.click("#shortcuts")
    page.tab.keyboard.press("Escape")
    page.tab.keyboard.press("2")
    assert "#/chart/AAPL" in page.tab.url


def test_light_and_dark(site, visit):
    page = visit(site.server.url, color_scheme="dark").open("#/chart/AAPL")
    page.chart("daily")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.tab.evaluate(ground)
    page.tab.keyboard.press("t")
    light = page.tab.evaluate(ground)
    assert [sum(map(int, each[4:-1].split(","))) for each in (dark, light)] == sorted(
        sum(map(int, each[4:-1].split(","))) for each in (dark, light)
    )
    assert dark != light
    page.tab.reload()
    page.chart("daily")
    assert page.tab.evaluate(ground) == light, "the choice is kept"


def test_a_screen_reader_is_not_notified_of_every_tick(site, visit):
    page = visit(site.server.url).open("#/chart/AAPL")
    page.chart("daily")
    page.tab.evaluate(
        """() => {
          window.changes = 0;
          for (const region of document.querySelectorAll("[aria-live], [role=status], [role=alert]")) {
            const change = new MutationObserver(() => (window.changes += 1));
            change.observe(region, {childList: true, characterData: true, subtree: true});
          }
        }"""
    )
    for n in range(4):
        site.ticks.send(("AAPL", 431 + n))
        page.wait_text("#quotes .price", f"{431 + n}.00")
    assert page.tab.evaluate("window.changes") == 0
    for landmark in (
        "header",
        "nav[aria-label]",
        "main",
        "[role=complementary][aria-label]",
        "[role=tabpanel][aria-labelledby]",
    ):
        assert page.tab.locator(landmark).count() >= 1, landmark
    bare = "(tables) => tables.filter((t) => !t.closest('[aria-hidden]') && !(t.caption && t.tHead)).length"
    assert page.tab.eval_on_selector_all("table", bare) == 0
