"""What a person sees and does on the page."""

import itertools
import json
import statistics
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from browser_rig import PHONE, PRICES

from market_alerts.rules_file import DEFAULT_FILE, parse_file
from market_alerts.state_topic import publish_rules
from ticklake.kafka import ConfirmedProducer
from ticklake.pipeline import BATCH_STAGES
from ticklake.records import Source, Tick

LAST_CLOSE = 430.47
"""AAPL on 2013-03-01, the recorded bars' last session."""


def test_the_page_loads_fast_and_light(site, visit):
    page = visit(site.server.url).open("#/chart/AAPL")
    page.chart("daily")
    drawn = page.tab.evaluate("performance.now()")
    timing = page.tab.evaluate(
        """() => {
          const [load] = performance.getEntriesByType("navigation");
          const all = [load, ...performance.getEntriesByType("resource")];
          const sum = (name) => all.reduce((total, each) => total + each[name], 0);
          const [sent, size] = [sum("transferSize"), sum("decodedBodySize")];
          return {loaded: load.loadEventEnd, requests: all.length, sent, size};
        }"""
    )
    print(
        f"\nload {timing['loaded']:.0f} ms, candles within {drawn:.0f} ms, {timing['requests']} requests, "
        f"{timing['sent'] / 1000:.0f} kB sent, {timing['size'] / 1000:.0f} kB unpacked"
    )
    assert timing["sent"] < 250_000
    assert "ticklake" in page.tab.title()


def test_a_tick_is_on_the_page_within_a_second(site, visit):
    page = visit(site.server.url).open("#/chart/AAPL")
    page.chart("daily")
    page.tab.evaluate(
        """() => {
          window.seen = [];
          const cell = document.querySelector('#quotes a[data-symbol="MSFT"]').closest("tr").querySelector(".price");
          const change = new MutationObserver(() => window.seen.push([cell.textContent, Date.now()]));
          change.observe(cell, {childList: true, characterData: true, subtree: true});
        }"""
    )
    sent: dict[str, float] = {}
    with ConfirmedProducer(site.kafka, "test", linger_ms=0) as producer:
        for n in range(60):
            price = 30 + n / 100
            tick = Tick(
                symbol="MSFT",
                price=price,
                volume=100,
                event_time=datetime.now(UTC),
                sequence=n,
                producer_run="delay",
                source=Source.SIMULATED,
            )
            sent[f"{price:.2f}"] = time.time() * 1000
            producer.send(site.live.names.topic, key=b"MSFT", value=tick.model_dump_json().encode())
            # The browser's events are taken while its client waits, so this is no sleep.
            page.tab.wait_for_timeout(250)
    page.wait_text("#quotes .price", "30.59")
    seen = dict(page.tab.evaluate("window.seen"))
    delays = sorted(seen[text] - at for text, at in sent.items() if text in seen)
    p99 = delays[min(int(len(delays) * 0.99), len(delays) - 1)]
    print(f"\ntick to page: {len(delays)} ticks, median {statistics.median(delays):.0f} ms, p99 {p99:.0f} ms")
    assert len(delays) > 40
    assert statistics.median(delays) < 1000
    assert page.tab.evaluate("performance.getEntriesByType('navigation').length") == 1


def test_candles_volume_and_indicators_are_drawn(site, visit):
    page = visit(site.server.url).open("#/chart/AAPL?range=1Y&ind=sma_20,bollinger,rsi,macd")
    chart = page.chart("daily")
    assert (chart["symbol"], chart["source"]) == ("AAPL", "replay")
    series = chart["series"]
    assert set(series) == {
        "candles",
        "volume",
        "sma_20",
        "bb_upper",
        "bb_middle",
        "bb_lower",
        "rsi_14",
        "macd",
        "macd_signal",
        "macd_hist",
    }
    candles = series["candles"]
    assert (len(candles), candles[0]["time"], candles[-1]["time"]) == (250, "2012-03-02", "2013-03-01")
    assert candles[-1]["close"] == LAST_CLOSE
    closes = [candle["close"] for candle in candles]
    mean, deviation = statistics.fmean(closes[-20:]), statistics.pstdev(closes[-20:])
    assert series["sma_20"][-1]["value"] == pytest.approx(mean)
    assert series["bb_upper"][-1]["value"] == pytest.approx(mean + 2 * deviation)
    assert all(0 <= point["value"] <= 100 for point in series["rsi_14"] if "value" in point)
    assert coloured(page, ".chart:first-child", "up") > 300
    assert coloured(page, ".chart:first-child", "down") > 300
    assert chart["panes"] == ["price", "rsi", "macd"]
    tops = page.tab.eval_on_selector_all(".legend", "(legends) => legends.map((legend) => legend.offsetTop)")
    assert tops == sorted(set(tops)), "each pane has its legend at its own top"
    assert "AAPL closed at 430.47 on 1 Mar 2013" in page.text("#chart-summary")
    page.tab.click("text=3M")
    page.until("window.ticklake.chart('daily').range.from > 150")
    page.tab.click("button:has-text('MACD')")
    page.until("window.ticklake.chart('daily')?.panes.length === 2")
    assert "range=3M" in page.tab.url
    assert "ind=sma_20%2Cbollinger%2Crsi" in page.tab.url
    before = page.chart("daily")["range"]
    page.tab.hover(".chart:first-child")
    page.tab.mouse.wheel(0, -300)
    page.until(f"window.ticklake.chart('daily').range.from > {before['from'] + 1}")
    assert "O " in page.text(".legend")
    page.tab.click("[aria-label='Prices adjusted for'] button:text-is('Splits')")
    page.until("window.ticklake.chart('daily')?.series.candles[0].close > 545")  # 545.18 as traded


def coloured(page, selector: str, token: str) -> int:
    """How many pixels of the canvases below `selector` have the colour of a token."""
    found: int = page.tab.evaluate(
        """([selector, token]) => {
          const probe = document.body.appendChild(document.createElement("i"));
          probe.style.color = `var(--${token})`;
          const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
          let count = 0;
          for (const canvas of document.querySelectorAll(`${selector} canvas`)) {
            if (!canvas.width || !canvas.height) continue;
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            for (let at = 0; at < data.length; at += 4) {
              const far = Math.abs(data[at] - r) + Math.abs(data[at + 1] - g) + Math.abs(data[at + 2] - b);
              if (data[at + 3] > 200 && far < 12) count += 1;
            }
          }
          return count;
        }""",
        [selector, token],
    )
    return found


def test_running_windows_with_average_and_bands(site, visit):
    page = visit(site.server.url).open("#/chart/AAPL?mode=15m", ready=".facts dd")
    chart = page.chart("intraday")
    series, times = chart["series"], chart["times"]
    averages = [point["value"] for point in series["average"] if "value" in point]
    assert averages[-1] == PRICES["AAPL"] + 60 / 20
    uppers = [point["value"] for point in series["upper"] if "value" in point]
    assert abs(uppers[-1] - averages[-1] - 2 * 0.25) < 1e-9
    assert "Running window" in page.text(".facts")
    assert "433.00" in page.text(".facts")
    assert {b - a for a, b in itertools.pairwise(times)} == {10}, "equal distances are equal times"
    page.tab.click("summary:has-text('Running windows')")
    page.until("document.querySelectorAll('.data-table tbody tr').length === 1")


def test_risk_and_compare(site, visit):
    page = visit(site.server.url).open("#/risk", ready=".matrix td")
    rows = page.tab.locator("section:has(#risk-title) tbody tr")
    assert [rows.nth(n).locator("th").inner_text() for n in range(rows.count())] == ["AAPL", "IBM", "MSFT"]
    assert page.tab.locator(".matrix tbody tr:first-child td").all_inner_texts()[0] == "1.00"
    page.open("#/compare?symbols=AAPL,IBM", ready=".chart")
    series = page.chart("compare")["series"]
    assert {symbol: points[0]["value"] for symbol, points in series.items()} == {"AAPL": 100, "IBM": 100}
    page.tab.click(".chips button:has-text('MSFT')")
    page.until("window.ticklake.chart('compare')?.series.MSFT")


def test_the_platform_view_shows_the_run(site, visit, filled_lake):
    page = visit(site.server.url, color_scheme="dark").open("#/platform", ready=".lineage svg")
    assert filled_lake.run_id in page.text(".runs")
    assert "reconciled" in page.text(".runs tbody tr")
    stages = page.tab.locator("section:has(> header:has-text('Stages')) tbody th").all_inner_texts()
    assert stages == [stage.program for stage in BATCH_STAGES]
    assert "passed" in page.text("section:has(> header:has-text('Quality checks'))")
    page.tab.click("summary:has-text('lineage as a list')")
    assert "fetch-historical → stock_market_batch: 750 rows" in page.text(".steps")
    assert "750 rows" in page.tab.locator(".lineage title").all_text_contents()[1]
    page.tab.click("summary:has-text('lineage as a list')")
    page.tab.set_viewport_size({"width": 1360, "height": 1000})
    page.tab.evaluate("scrollTo(0, 0)")
    page.picture("platform")


def test_an_alert_appears_as_a_notification_and_in_the_list(site, visit):
    page = visit(site.server.url).open("#/chart/AAPL")
    page.chart("daily")
    site.alert(message="AAPL rose 1.4 % within 15 minutes")
    page.wait_text("[aria-live=polite] .toast", "AAPL rose 1.4 %")
    assert page.text("#alert-count").startswith("1")
    site.alert(symbol="IBM", severity="critical", rule="crash", message="IBM fell 5.2 % within 1 hour")
    page.wait_text("[aria-live=assertive] .toast", "IBM fell 5.2 %")
    page.tab.keyboard.press("Escape")
    assert page.tab.locator(".toast").count() == 0
    page.tab.click("#tab-alerts")
    page.wait_text("[data-alert]", "IBM fell 5.2 %")
    assert page.tab.is_hidden("#alert-count")
    site.alert(symbol="MSFT", message="MSFT is back", state="cleared")
    page.wait_text("[data-alert]", "MSFT is back")
    assert page.tab.locator(".toast").count() == 0, "that it is over interrupts nobody"


def test_rules_read_as_sentences(site, visit):
    rules = parse_file(DEFAULT_FILE.read_bytes(), DEFAULT_FILE)
    with ConfirmedProducer(site.kafka, "test") as producer:
        publish_rules(producer, site.live.names, rules)
    # The dashboard asks at most twice a minute.
    published = site.server.wait("/alerts/rules", lambda answer: answer["items"])["items"]
    crash = next(each for each in published if each["name"] == "crash")
    sentence = "falls 5 % or more within 1 hour (rearms below 4 %)"
    assert (crash["sentence"], crash["label"], crash["percent"]) == (sentence, "Price change", 5.0)
    page = visit(site.server.url).open("#/alerts")
    for rule in rules:
        page.wait_text("tr", rule.sentence)
        page.wait_text("tr", rule.label)
    page.wait_text("tr", "15 min")
    page.picture("rules")


def test_exports_are_files(site, visit):
    page = visit(site.server.url).open("#/chart/AAPL")
    page.chart("daily")
    page.tab.click("summary:has-text('Export')")
    with page.tab.expect_download() as started:
        page.tab.click("a[aria-label='Daily bars of AAPL as CSV']")
    lines = started.value.path().read_text().splitlines()
    assert len(lines) == 251
    with page.tab.expect_download() as started:
        page.tab.click("a[aria-label='Indicators of AAPL as Parquet']")
    assert started.value.path().read_bytes()[:4] == b"PAR1"


def test_times_are_the_exchanges_with_utc_on_hover(site, visit):
    page = visit(site.server.url, timezone_id="Asia/Tokyo").open("#/platform", ready=".runs time")
    stamp, shown, hover = page.tab.eval_on_selector(".runs time", "(e) => [e.dateTime, e.innerText, e.title]")
    moment = datetime.fromisoformat(stamp)
    assert hover.endswith(f"{moment:%H:%M:%S} UTC")
    assert shown.endswith(f"{moment.astimezone(ZoneInfo('America/New_York')):%H:%M}")


def test_pictures_of_chart_and_phone(site, visit):
    page = visit(site.server.url).open("#/chart/AAPL?range=1Y&ind=sma_50,bollinger,rsi,macd")
    page.chart("daily")
    page.picture("chart")
    phone = visit(site.server.url, viewport=PHONE, device_scale_factor=2).open(
        "#/chart/AAPL?range=6M&ind=sma_20,rsi", ready=".chart canvas"
    )
    phone.chart("daily")
    assert json.loads(phone.tab.evaluate("JSON.stringify(window.ticklake.quote('AAPL'))"))["source"] == "simulated"
    phone.picture("phone")
