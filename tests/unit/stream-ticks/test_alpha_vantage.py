"""Alpha Vantage's answers, limits and secrets, against a local server that speaks its format."""

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from stream_ticks.alpha_vantage import Client, Failed, Limited, Pace, Quote, Unknown
from stream_ticks.alpha_vantage_source import QuoteTicks
from stream_ticks.settings import AlphaVantageSettings, StreamOptions, StreamSettings
from ticklake.errors import ConfigurationError
from ticklake.records import Source
from ticklake.settings import LiveSettings

KEY = "SECRETKEY123"


class Server(ThreadingHTTPServer):
    answer: tuple[int, str] = (200, "{}")
    headers: dict[str, str]
    asked: list[dict[str, list[str]]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(parse_qs(urlsplit(self.path).query))
        status, body = self.server.answer
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.headers, running.asked = {}, []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def settings(server: Server, **more: object) -> AlphaVantageSettings:
    address = f"http://127.0.0.1:{server.server_port}/query"
    return AlphaVantageSettings.model_validate({"api_key": SecretStr(KEY), "base_url": address} | more)


def quote_json(price: str = "296.3400", volume: str = "3137218", day: str = "2026-01-30") -> str:
    return json.dumps(
        {
            "Global Quote": {
                "01. symbol": "IBM",
                "02. open": "295.0000",
                "03. high": "297.0000",
                "04. low": "294.1000",
                "05. price": price,
                "06. volume": volume,
                "07. latest trading day": day,
                "08. previous close": "294.7800",
                "09. change": "1.5600",
                "10. change percent": "0.5292%",
            }
        }
    )


def test_a_quote_is_read(server: Server) -> None:
    server.answer = (200, quote_json())
    assert Client(settings(server)).quote("IBM") == Quote(296.34, 3137218, "2026-01-30")
    assert server.asked == [{"function": ["GLOBAL_QUOTE"], "symbol": ["IBM"], "apikey": [KEY]}]


@pytest.mark.parametrize(
    ("field", "text", "daily"),
    [
        ("Note", "Our standard API call frequency is 5 calls per minute and 500 calls per day.", False),
        (
            "Information",
            f"We have detected your API key as {KEY} and our standard API rate limit is 25 requests per "
            "day. Please subscribe to any of the premium plans to remove all daily rate limits.",
            True,
        ),
        (
            "Information",
            "Please consider spreading out your free API requests more sparingly (1 request per second). "
            "Premium plans lift the free key rate limit (25 requests per day).",
            False,
        ),
    ],
)
def test_limits_inside_http_200(server: Server, field: str, text: str, daily: bool) -> None:
    server.answer = (200, json.dumps({field: text}))
    found = Client(settings(server)).quote("IBM")
    assert isinstance(found, Limited)
    assert found.daily is daily
    assert KEY not in found.reason


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("Error Message", f"the parameter apikey is invalid or missing. Your key: {KEY}"),
        ("Information", "The **demo** API key is for demo purposes only."),
        ("Information", "This is a premium endpoint."),
    ],
)
def test_a_rejected_key_is_a_configuration_error(server: Server, field: str, text: str) -> None:
    server.answer = (200, json.dumps({field: text}))
    with pytest.raises(ConfigurationError, match="TICKLAKE_ALPHA_VANTAGE_API_KEY") as caught:
        Client(settings(server)).quote("IBM")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        {"Global Quote": {}},
        {"Error Message": "Invalid API call. Please retry or visit the documentation for GLOBAL_QUOTE."},
    ],
)
def test_an_unknown_symbol(server: Server, body: dict[str, object]) -> None:
    server.answer = (200, json.dumps(body))
    assert Client(settings(server)).quote("NOPE") == Unknown()


@pytest.mark.parametrize(
    "answer",
    [
        (500, "oops"),
        (200, "<html>"),
        (200, "[]"),
        (200, "{}"),
        (200, quote_json(price="-1")),
        (200, quote_json(price="nan")),
        (200, quote_json(price="1e308")),
    ],
)
def test_what_cannot_be_read_is_a_failure_to_be_tried_again(server: Server, answer: tuple[int, str]) -> None:
    server.answer = answer
    assert isinstance(Client(settings(server)).quote("IBM"), Failed)


def test_http_429_says_how_long(server: Server) -> None:
    server.answer, server.headers = (429, ""), {"Retry-After": "7"}
    assert Client(settings(server)).quote("IBM") == Limited("HTTP 429", daily=False, seconds=7)


def test_nobody_there_is_a_failure() -> None:
    gone = AlphaVantageSettings.model_validate({"api_key": SecretStr(KEY), "base_url": "http://127.0.0.1:1/"})
    assert Client(gone).quote("IBM") == Failed("no answer: ConnectError")


def test_the_key_is_in_no_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = Client(settings(server))
    for answer in ((200, quote_json()), (500, "x"), (200, json.dumps({"Information": f"{KEY} 25 requests per day"}))):
        server.answer = answer
        client.quote("IBM")
    assert len(server.asked) == 3
    assert KEY not in caplog.text


def test_the_pace_keeps_every_limit_and_lasts_all_day() -> None:
    limits = AlphaVantageSettings.model_validate({"daily_limit": 25, "minute_limit": 5, "spacing_seconds": 1})
    now = [0.0]
    pace, calls = Pace(limits, 8, 2.0, lambda: now[0]), []
    while now[0] < 3 * 86_400:
        if wait := pace.wait_seconds():
            now[0] += wait
            continue
        pace.spend()
        calls.append(now[0])
    assert calls[:5] == [0, 1, 2, 3, 4]
    assert calls[5] == 60
    for later, earlier in zip(calls[25:], calls, strict=False):
        assert later - earlier >= 86_400
    for later, earlier in zip(calls[5:], calls, strict=False):
        assert later - earlier >= 60
    assert max(b - a for a, b in pairwise(calls[8:])) <= 86_400 / 17 + 1
    assert len([call for call in calls if 86_400 <= call < 2 * 86_400]) >= 24


def test_waits_grow_with_each_rejection_and_start_over() -> None:
    now = [0.0]
    pace = Pace(AlphaVantageSettings(), 1, 2.0, lambda: now[0])
    rejection = Limited("x", daily=False)
    assert [pace.limited(rejection) for _ in range(8)] == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert pace.wait_seconds() == 3600
    pace.succeeded()
    assert pace.limited(rejection) == 60
    pace.succeeded()
    waits = [pace.failed() for _ in range(3)]
    assert all(0.5 <= wait / base <= 1.5 for wait, base in zip(waits, (2, 4, 8), strict=True))


def test_an_unchanged_quote_is_no_tick_and_volume_is_what_was_added() -> None:
    ticks, at = QuoteTicks("IBM", "run"), datetime(2026, 1, 30, 15, tzinfo=UTC)
    quotes = [
        Quote(10.0, 500, "2026-01-30"),
        Quote(10.0, 500, "2026-01-30"),
        Quote(10.5, 700, "2026-01-30"),
        Quote(10.5, 650, "2026-01-30"),
        Quote(11.0, 40, "2026-01-31"),
    ]
    made = [ticks.tick(quote, at) for quote in quotes]
    assert [m and (m.price, m.volume, m.sequence) for m in made] == [
        (10.0, 0, 0),
        None,
        (10.5, 200, 1),
        (10.5, 0, 2),
        (11.0, 40, 3),
    ]
    assert {m.source for m in made if m} == {Source.ALPHA_VANTAGE}


@pytest.mark.parametrize(
    ("options", "key", "namespace", "outcome"),
    [
        ({}, None, "", Source.SIMULATED),
        ({}, KEY, "", Source.ALPHA_VANTAGE),
        ({"source": "simulated"}, KEY, "", Source.SIMULATED),
        ({"source": "alpha_vantage"}, None, "", "API_KEY"),
        ({"speed_up": 60}, None, "fast", Source.SIMULATED),
        ({"speed_up": 60}, None, "", "TICKLAKE_LIVE_NAMESPACE"),
        ({"start_event_time": "2026-01-30T15:00:00Z"}, None, "", "TICKLAKE_LIVE_NAMESPACE"),
        ({"speed_up": 60}, KEY, "fast", "for simulated ticks"),
    ],
)
def test_the_source_and_what_contradicts_it(
    options: dict[str, object], key: str | None, namespace: str, outcome: Source | str
) -> None:
    chosen = StreamSettings(
        live=LiveSettings(namespace=namespace),
        stream=StreamOptions.model_validate(options),
        alpha_vantage=AlphaVantageSettings(api_key=SecretStr(key) if key else None),
    )
    if isinstance(outcome, Source):
        assert chosen.chosen_source() is outcome
    else:
        with pytest.raises(ConfigurationError, match=outcome):
            chosen.chosen_source()
