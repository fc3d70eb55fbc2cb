"""What the page says when a part is away, empty or late, and that it comes back by itself."""

from urllib.parse import urlsplit

from relay import LOOPBACK, Relay

from ticklake.catalog import matching
from ticklake.tables import DAILY_ANALYTICS


def test_a_lake_without_a_batch_says_what_to_run(new_site, visit, empty_lake):
    site = new_site(empty_lake)
    page = visit(site.server.url).open("#/chart/AAPL")
    page.wait_text("#banner", "No batch yet")
    page.wait_text("#panel", "make run")
    for view in ("risk", "compare", "platform"):
        page.tab.click(f"#tab-{view}")
        page.wait_text("#panel", "make run")
    page.tab.click("#tab-alerts")
    page.wait_text("#panel", "No alert yet")


def test_no_tick_yet_then_the_first(new_site, visit, empty_lake):
    site = new_site(empty_lake, ticks=False)
    page = visit(site.server.url).open(ready=None)
    page.wait_text("#banner", "No ticks yet")
    site.ticks.send(("AAPL", 101.25))
    page.wait_text("#quotes .price", "101.25")
    page.wait_text("#state", "Live")
    assert "No ticks yet" not in page.text("#banner")
    assert "SIMULATED" in page.text("#state")


def test_stale_prices_are_called_so(new_site, visit, empty_lake):
    site = new_site(empty_lake, DASHBOARD_STALE_SECONDS="3")
    page = visit(site.server.url).open()
    page.wait_text("#banner", "No new ticks")
    page.wait_text("#state", "Stale")
    site.ticks.send(("AAPL", 102.5))
    page.wait_text("#state", "Live")


def test_a_broker_that_is_away(new_site, visit, filled_lake):
    nobody = Relay((LOOPBACK, 1), open_=False)
    site = new_site(filled_lake, ticks=False, KAFKA_BOOTSTRAP_SERVERS=f"{LOOPBACK}:{nobody.port}")
    page = visit(site.server.url, away=True).open("#/chart/AAPL", ready=None)
    page.wait_text("#banner", "Kafka is out of reach")
    # What comes from the lake is there all the same.
    assert page.chart("daily")["series"]["candles"]
    page.tab.click("#tab-platform")
    page.wait_text(".facts", "Out of reach")
    page.wait_text("#panel", "This part could not be loaded")


def test_a_store_that_is_away_and_comes_back(new_site, visit, filled_lake):
    place = urlsplit(filled_lake.store.endpoint)
    relay = Relay((place.hostname, place.port), open_=False)
    site = new_site(filled_lake, STORE_ENDPOINT=f"http://{LOOPBACK}:{relay.port}", DASHBOARD_STORE_TIMEOUT_SECONDS="1")
    page = visit(site.server.url, away=True).open("#/chart/AAPL", ready=None)
    page.wait_text("#banner", "The lake is out of reach")
    page.wait_text("#panel", "This part could not be loaded")
    assert page.tab.locator("#panel button:has-text('Try again')").count() == 1
    page.wait_text("#quotes .price", "430.04")
    relay.open()
    # Nobody presses anything: the page tries again when the store is back.
    page.until("window.ticklake.chart('daily')")
    page.wait_text("#state", "REPLAY")
    page.until("!document.querySelector('#banner').innerText.includes('lake')")
    relay.cut()


def test_a_lost_stream_is_reported_and_found_again(new_site, visit, filled_lake):
    site = new_site(filled_lake, DASHBOARD_STALE_SECONDS="900")
    place = urlsplit(site.server.url)
    relay = Relay((place.hostname, place.port))
    page = visit(f"http://{LOOPBACK}:{relay.port}", away=True).open("#/chart/AAPL")
    page.chart("daily")
    relay.cut()
    page.wait_text("#banner", "Connection lost")
    page.wait_text("#state", "Offline")
    assert page.tab.evaluate("window.ticklake.connection") == "lost"
    assert "430.04" in page.text("#quotes"), "the last prices stay"
    # Asked for while the server is away: an error with a retry in the place of the view.
    page.tab.click("text=Compare")
    page.wait_text("#panel", "The server does not answer")
    site.ticks.send(("AAPL", 433.21))
    relay.open()
    page.wait_text("#quotes .price", "433.21")
    page.until("window.ticklake.connection === 'open'")
    assert page.text("#banner") == ""
    page.until("window.ticklake.chart('compare')")
    relay.cut()


def test_a_batch_that_ends_fills_the_page(new_site, visit, empty_lake, filled_lake):
    """The page of an empty lake shows its chart when the rows of a batch come in."""
    site = new_site(empty_lake)
    page = visit(site.server.url).open("#/chart/AAPL")
    page.wait_text("#panel", "make run")
    rows, mine = filled_lake.tables.read("market_test", DAILY_ANALYTICS), empty_lake.tables
    mine.ensure("market_test", DAILY_ANALYTICS)
    mine.replace("market_test", DAILY_ANALYTICS, "run", rows, matching())
    page.until("window.ticklake.chart('daily')")
    assert "No batch yet" not in page.text("#banner")
