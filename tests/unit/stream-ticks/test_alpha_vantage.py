"""Alpha Vantage's answers, limits and secrets, against a local server that speaks its format."""

import gzip
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs
from waiting import ENDS_SECONDS, wait_until

from stream_ticks.alpha_vantage import Client, Failed, Limited, Pace, Quote, Unknown
from stream_ticks.alpha_vantage_source import QuoteTicks, Turns, stream_quotes
from stream_ticks.metrics import Metrics, Pulse
from stream_ticks.sender import Sender
from stream_ticks.settings import AlphaVantageSettings, StreamOptions, StreamSettings
from ticklake.errors import ConfigurationError
from ticklake.records import Source
from ticklake.settings import LiveSettings

KEY = "SECRETKEY123"


class Server(ThreadingHTTPServer):
    answer: tuple[int, str | bytes] = (200, "{}")
    by_symbol: dict[str, tuple[int, str]]
    """Answers in place of `answer`."""
    wire: Callable[[], Iterable[bytes]] | None = None
    """What goes over the wire in place of `answer`, until the client hangs up."""
    headers: dict[str, str]
    asked: list[dict[str, list[str]]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(parse_qs(urlsplit(self.path).query))
        if self.server.wire is not None:
            try:
                for part in self.server.wire():
                    self.wfile.write(part)
            except OSError:
                self.close_connection = True
            return
        status, body = self.server.by_symbol.get(self.server.asked[-1]["symbol"][0], self.server.answer)
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode() if isinstance(body, str) else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.headers, running.by_symbol, running.asked = {}, {}, []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def settings(server: Server, **more: object) -> AlphaVantageSettings:
    address = f"http://127.0.0.1:{server.server_port}/query"
    return AlphaVantageSettings.model_validate({"api_key": SecretStr(KEY), "base_url": address} | more)


def quote_json(
    price: object = "296.3400", volume: object = "3137218", day: object = "2026-01-30", symbol: object = "IBM"
) -> str:
    return json.dumps(
        {
            "Global Quote": {
                "01. symbol": symbol,
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
        (
            "Note",
            "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls "
            "per day. Please visit https://www.alphavantage.co/premium/ to target a higher API call frequency.",
            False,
        ),
        ("Information", "This is a premium endpoint. You may subscribe to any of the premium plans.", False),
        ("Information", "Please visit https://www.alphavantage.co/premium/ for a higher frequency.", False),
        ("Information", "The **demo** API key is for demo purposes only. Please claim your free API key.", False),
    ],
)
def test_limits_inside_http_200(server: Server, field: str, text: str, daily: bool) -> None:
    server.answer = (200, json.dumps({field: text}))
    found = Client(settings(server)).quote("IBM")
    assert isinstance(found, Limited)
    assert found.daily is daily
    assert KEY not in found.reason


@pytest.mark.parametrize("field", ["Error Message", "Information"])
def test_a_rejected_key_is_a_configuration_error(server: Server, field: str) -> None:
    server.answer = (200, json.dumps({field: f"the parameter apikey is invalid or missing. Your key: {KEY}"}))
    with pytest.raises(ConfigurationError, match="TICKLAKE_ALPHA_VANTAGE_API_KEY") as caught:
        Client(settings(server)).quote("IBM")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_is_rejected_by_status_only_three_times_in_a_row(server: Server, status: int) -> None:
    client = Client(settings(server))
    for answer in ((status, ""), (status, ""), (500, ""), (status, ""), (status, "")):
        server.answer = answer
        assert client.quote("IBM") == Failed(f"HTTP {answer[0]}")
    server.answer = (status, "")
    with pytest.raises(ConfigurationError, match="TICKLAKE_ALPHA_VANTAGE_API_KEY"):
        client.quote("IBM")


def test_a_key_that_has_given_a_quote_is_never_wrong(server: Server) -> None:
    server.answer = (200, quote_json())
    client = Client(settings(server))
    assert isinstance(client.quote("IBM"), Quote)
    server.answer = (200, json.dumps({"Error Message": "the parameter apikey is invalid or missing."}))
    assert client.quote("IBM") == Failed("the parameter apikey is invalid or missing.")
    server.answer = (401, "")
    assert [client.quote("IBM") for _ in range(5)] == [Failed("HTTP 401")] * 5


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
        (200, quote_json(price="0.0000")),
        (200, quote_json(price="None")),
        (200, quote_json(price=None)),
        (200, quote_json(price=[1])),
        (200, quote_json(volume="3137218.5")),
        (200, quote_json(volume=float("inf"))),
        (200, quote_json(volume="-1")),
        (200, quote_json(day="")),
        (200, quote_json(day=None)),
        (200, quote_json(day=f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}")),
        (200, quote_json(symbol="MSFT")),
        (200, quote_json(symbol=None)),
        (200, "null"),
        (200, '"text"'),
        (200, '{"Global Quote": null}'),
        (200, '{"Global Quote": []}'),
        (200, '{"Global Quote": {"01. symbol": "IBM"}}'),
        (200, '{"Error Message": "Internal error, please try again."}'),
        (200, quote_json()[:-20]),
        (200, "[" * 60_000),
        (200, gzip.compress(quote_json().encode())),
        (200, b'{"Global Quote": "\xff"}'),
        (302, ""),
    ],
)
def test_what_cannot_be_read_is_a_failure_to_be_tried_again(server: Server, answer: tuple[int, str | bytes]) -> None:
    server.answer = answer
    assert isinstance(Client(settings(server)).quote("IBM"), Failed)


def test_a_class_of_shares_may_have_a_dot_or_a_dash_and_any_case(server: Server) -> None:
    server.answer = (200, quote_json(symbol="brk.b"))
    assert isinstance(Client(settings(server)).quote("BRK-B"), Quote)


def dripping(start: bytes) -> Iterator[bytes]:
    yield start
    while True:
        time.sleep(0.05)
        yield b"x"


def endless() -> Iterator[bytes]:
    yield b"HTTP/1.0 200 OK\r\n\r\n"
    while True:
        yield b"x" * 10_000


@pytest.mark.parametrize("start", [b"HTTP/1.0 200 OK\r\nX-Slow: ", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_the_time_of_a_whole_call_is_bounded(server: Server, start: bytes) -> None:
    server.wire = lambda: dripping(start)
    assert Client(settings(server, timeout_seconds=0.5)).quote("IBM") == Failed("no answer: TimeoutError")


def test_the_size_of_an_answer_is_bounded(server: Server) -> None:
    server.wire = endless
    assert Client(settings(server, timeout_seconds=ENDS_SECONDS)).quote("IBM") == Failed("the answer is too long")


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [
        ("7", 7, 7),
        (timedelta(minutes=50), 1500, 3000),
        (timedelta(days=50), 3600, 3600),
        ("9" * 400, 3600, 3600),
        ("0", 60, 60),
        ("-1", 60, 60),
        ("soon", 60, 60),
        ("Mon, 99999999999999999999999 Jan 2024 00:00:00 GMT", 60, 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 60, 60),
    ],
)
def test_http_429_says_how_long(server: Server, after: str | timedelta, least: float, most: float) -> None:
    if isinstance(after, timedelta):  # as a date, of the time when the test runs
        after = format_datetime(datetime.now(UTC) + after, usegmt=True)
    server.answer, server.headers = (429, ""), {"Retry-After": after}
    found = Client(settings(server)).quote("IBM")
    assert isinstance(found, Limited)
    assert (found.reason, found.daily) == ("HTTP 429", False)
    assert least <= found.seconds <= most


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


def test_an_unknown_symbol_is_asked_for_ever_more_rarely_and_a_quote_resets_that() -> None:
    now = [0.0]
    turns = Turns(["IBM", "NOPE"], lambda: now[0])
    assert [turns.next() for _ in range(4)] == ["IBM", "NOPE", "IBM", "NOPE"]
    turns.known("IBM")
    waits = []
    for _ in range(12):
        waits.append(turns.unknown("NOPE"))
        assert [turns.next() for _ in range(3)] == ["IBM"] * 3
        now[0] += waits[-1]
        assert "NOPE" in (turns.next(), turns.next())
    assert waits == [min(300 * 2**number, 86_400) for number in range(12)]
    turns.known("NOPE")
    assert turns.unknown("NOPE") == 300


def test_that_no_symbol_is_known_is_certain_after_three_answers_each() -> None:
    now = [0.0]
    turns = Turns(["A", "B"], lambda: now[0])
    for symbol in ("A", "B", "A", "A", "A", "B"):
        turns.unknown(symbol)
    assert turns.next() is None
    with pytest.raises(ConfigurationError, match="TICKLAKE_STREAM_SYMBOLS"):
        turns.unknown("B")


def test_one_quote_makes_certain_that_some_symbol_is_known() -> None:
    turns = Turns(["A"], lambda: 0.0)
    turns.known("A")
    assert [turns.unknown("A") for _ in range(5)] == [300, 600, 1200, 2400, 4800]


class Kept:
    """Confirms everything at once."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def send(self, topic: str, *, key: bytes, value: bytes) -> None:
        self.keys.append(key)

    def check(self) -> int:
        return 0


def sending(chosen: StreamSettings, kept: Kept) -> Sender:
    metrics = Metrics(CollectorRegistry())
    return Sender(kept, "topic", chosen.stream.symbols, "run", Source.ALPHA_VANTAGE, metrics, Pulse())


def test_a_round_that_takes_longer_than_a_day_is_reported(server: Server) -> None:
    chosen = StreamSettings(
        stream=StreamOptions.model_validate({"symbols": ",".join(f"S{number}" for number in range(503))}),
        alpha_vantage=settings(server),
    )
    stop = threading.Event()
    stop.set()
    with capture_logs() as logs:
        stream_quotes(chosen, sending(chosen, Kept()), stop)
    assert [(line["daily_limit"], line["days_for_a_round"]) for line in logs if "daily_limit" in line] == [(25, 20.1)]


@pytest.mark.parametrize("symbols", ["NOPE", "NOPE,IBM"])
def test_one_empty_answer_ends_nothing(server: Server, symbols: str) -> None:
    server.answer, server.by_symbol = (200, quote_json()), {"NOPE": (200, json.dumps({"Global Quote": {}}))}
    chosen = StreamSettings(
        stream=StreamOptions.model_validate({"symbols": symbols, "interval": 0.01}),
        alpha_vantage=settings(server, daily_limit=10**9, minute_limit=10**9, spacing_seconds=0.01),
    )
    kept, stop = Kept(), threading.Event()
    sender = sending(chosen, kept)
    thread = threading.Thread(target=stream_quotes, args=(chosen, sender, stop))
    with capture_logs() as logs:
        thread.start()
        try:
            if "IBM" in symbols:
                wait_until(lambda: kept.keys == [b"IBM"], alive=thread.is_alive)
            unknown = sender.metrics.source_errors.labels("unknown_symbol")
            wait_until(lambda: unknown._value.get() == 1)
            # Some turns more: a source that gave up would have ended by then.
            thread.join(1)
            assert thread.is_alive()
        finally:
            stop.set()
            thread.join(ENDS_SECONDS)
    assert [line["symbol"] for line in logs if "does not know this symbol" in line["event"]] == ["NOPE"]


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
