"""The area between the bands is filled: measured on the canvas, in the page's own colours."""

import pytest
from browser_rig import Page

SAMPLE = """
([places]) => {
  const canvas = [...document.querySelectorAll(".chart:first-child canvas")].find((each) => each.width > 200);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const count = {};
  for (const [x, y] of places) {
    if (x < 0 || y < 0 || x >= canvas.width || y >= canvas.height) continue;
    const at = 4 * (Math.round(y) * canvas.width + Math.round(x));
    const colour = [...pixels.data.slice(at, at + 3)].join();
    count[colour] = (count[colour] ?? 0) + 1;
  }
  return Object.entries(count).sort((a, b) => b[1] - a[1])[0][0].split(",").map(Number);
}
"""
"""The most frequent colour at some places: grid, candles and lines cover a few of them."""

TOKENS = """
() => ["surface", "c9"].map((token) => {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(--${token})`;
  const found = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
  probe.remove();
  return found;
})
"""
ALPHA = 0.12


def places(page: Page, chart: str, share: float) -> list[tuple[float, float]]:
    """Places on the canvas at a share of the way from the upper to the lower band; outside of 0 to 1 beyond them."""
    pieces = page.chart(chart)["band"]
    return [
        (point["x"], point["top"] + share * (point["bottom"] - point["top"])) for piece in pieces for point in piece
    ]


def check_filled(page: Page, chart: str) -> None:
    """Between the bands the page's ground shines through the fill, beside them it is bare."""
    surface, line = page.tab.evaluate(TOKENS)
    mixed = [ground + ALPHA * (colour - ground) for ground, colour in zip(surface, line, strict=True)]
    page.tab.wait_for_timeout(150)  # the frame in which the library draws
    inside = page.tab.evaluate(SAMPLE, [places(page, chart, 0.25)])
    assert inside == pytest.approx(mixed, abs=2), (surface, line)
    for share in (-0.15, 1.15):
        assert page.tab.evaluate(SAMPLE, [places(page, chart, share)]) == surface


def test_the_daily_bands_are_filled_through_zoom_and_theme(site, visit):
    page = visit(site.server.url).open("#/chart/AAPL?range=1Y&ind=bollinger")
    (piece,) = page.chart("daily")["band"]
    assert len(piece) == 250 - 19, "from the first session with 20 closes on"
    check_filled(page, "daily")
    page.tab.focus(".chart")
    page.tab.keyboard.press("+")
    page.until(f"window.ticklake.chart('daily').band[0].length < {len(piece) - 30}")
    check_filled(page, "daily")
    page.tab.keyboard.press("t")
    check_filled(page, "daily")
    page.tab.keyboard.press("t")
    check_filled(page, "daily")
    there = places(page, "daily", 0.25)
    page.tab.click("button:has-text('Bollinger')")
    page.until("window.ticklake.chart('daily').band === null")
    page.tab.wait_for_timeout(150)
    assert page.tab.evaluate(SAMPLE, [there]) == page.tab.evaluate(TOKENS)[0], "hidden with its lines"


def test_the_bands_of_windows_are_filled_but_for_the_time_without_windows(site, visit):
    site.windows("IBM", without=range(20, 35))
    site.server.wait("/symbols/IBM/windows?length=15m", lambda answer: len(answer["items"]) == 61 - 15)
    page = visit(site.server.url, color_scheme="dark").open("#/chart/IBM?mode=15m", ready=".facts dd")
    first, second = page.chart("intraday")["band"]
    assert (len(first), len(second)) == (20, 61 - 35)
    check_filled(page, "intraday")
    before, after = first[-1], second[0]
    gap = [(before["x"] + n / 40 * (after["x"] - before["x"]), before["top"] + 3) for n in range(4, 36)]
    assert page.tab.evaluate(SAMPLE, [gap]) == page.tab.evaluate(TOKENS)[0]
