"""A local server that answers like Yahoo's chart service, from the recorded bars.

The real yfinance runs against it unchanged. It knows what was known at the end of one session: bars up to it, adjusted
for the splits and dividends up to it, as Yahoo would have answered that evening. Faults can be switched on for tests.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

from fetch_historical.recordings import AdjustedBars, adjust, last_recorded_session, recorded

_ZONE = ZoneInfo("America/New_York")
_CHART = "/v8/finance/chart/"


def replay_last_session() -> date:
    """The recording's last session: the date to run `replay` for where none is given."""
    return last_recorded_session()


@dataclass
class Faults:
    """What goes wrong; every field can be changed while the server runs."""

    delay_seconds: float = 0.0
    """Before each chart answer."""
    failures: int = 0
    """How many of the next chart requests fail, then all is well again."""
    failure_status: int = 429
    """HTTP status of these failures; 200 sends `garbage` instead."""
    retry_after: str | None = None
    """`Retry-After` header of these failures."""
    garbage: bytes = b"<html>not a chart</html>"
    empty: frozenset[str] = frozenset()
    """Symbols that are known but answered without any bar."""
    delisted: dict[str, date] = field(default_factory=dict)
    """Symbols whose bars end on a date before the recording's end."""


class ReplayServer(ThreadingHTTPServer):
    """Serves charts on a free port of the loopback interface.

    Args:
        as_of: the session at whose end it answers; the recording's last one if later or None.
        faults: what goes wrong.
    """

    daemon_threads = True

    def __init__(self, as_of: date | None = None, faults: Faults | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        last = last_recorded_session()
        self.as_of = min(as_of or last, last)
        self.faults = faults or Faults()
        self.stopping = threading.Event()
        self.chart_requests: list[str] = []
        """Path and query of every chart request, in order."""
        self._failed = 0
        self._lock = threading.Lock()
        self._adjusted: dict[str, AdjustedBars] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def take_failure(self, path: str) -> bool:
        """Note a chart request; whether it is one of those that fail."""
        with self._lock:
            self.chart_requests.append(path)
            if self._failed < self.faults.failures:
                self._failed += 1
                return True
        return False

    def bars(self, symbol: str) -> AdjustedBars | None:
        """Bars of `symbol` as known, None for a symbol that is not."""
        with self._lock:
            if symbol not in self._adjusted and symbol in recorded():
                last = min(self.as_of, self.faults.delisted.get(symbol, self.as_of))
                self._adjusted[symbol] = adjust(recorded()[symbol].until(last))
            found = self._adjusted.get(symbol)
        return found if found is not None and found.sessions else None


@contextmanager
def served(as_of: date | None = None, faults: Faults | None = None) -> Iterator[ReplayServer]:
    """A `ReplayServer` that runs in the background while the block does."""
    server = ReplayServer(as_of, faults)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="replay", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024  # header and body in one packet
    disable_nagle_algorithm = True
    server: ReplayServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.startswith(_CHART):
            self._chart(unquote(parts.path.removeprefix(_CHART)), parse_qs(parts.query))
        elif parts.path == "/v1/test/getcrumb":
            self._send(200, b"replay", "text/plain")
        else:
            # The cookie page is one of these with Yahoo too: it sets a cookie and answers 404.
            self._send(404, b"<html></html>", "text/html", {"Set-Cookie": "A3=replay; Path=/"})

    def _chart(self, symbol: str, query: dict[str, list[str]]) -> None:
        faults = self.server.faults
        if faults.delay_seconds:
            self.server.stopping.wait(faults.delay_seconds)
        if self.server.take_failure(self.path):
            headers = {"Retry-After": faults.retry_after} if faults.retry_after is not None else {}
            body = faults.garbage if faults.failure_status == 200 else b"Too Many Requests\r\n"
            self._send(faults.failure_status, body, "text/html", headers)
            return
        bars = self.server.bars(symbol)
        if bars is None:
            self._send_json(404, _error("Not Found", "No data found, symbol may be delisted"))
            return
        start, end = self._span(bars, query)
        chosen = [n for n, day in enumerate(bars.sessions) if start <= _opens(day) < end]
        if not chosen and "period1" in query:
            text = f"Data doesn't exist for startDate = {start}, endDate = {end}"
            self._send_json(400, _error("Bad Request", text))
            return
        self._send_json(200, chart_json(symbol, bars, [] if symbol in faults.empty else chosen))

    def _span(self, bars: AdjustedBars, query: dict[str, list[str]]) -> tuple[int, int]:
        """Seconds since 1970, the end excluded; without `period1` it is the latest session (`range=1d`)."""
        if "period1" in query:
            return int(query["period1"][0]), int(query["period2"][0])
        return _opens(bars.sessions[-1]), _opens(bars.sessions[-1]) + 1

    def _send_json(self, status: int, answer: dict[str, Any]) -> None:
        self._send(status, json.dumps(answer).encode(), "application/json")

    def _send(self, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has given up, as it does in a test of its timeout

    def log_message(self, *_: Any) -> None:
        """The stage's log says what was asked."""


def _opens(day: date) -> int:
    """When the session opens, in seconds since 1970: Yahoo's time stamp of a daily bar."""
    return int(datetime.combine(day, time(9, 30), _ZONE).timestamp())


def _error(code: str, description: str) -> dict[str, Any]:
    return {"chart": {"result": None, "error": {"code": code, "description": description}}}


def chart_json(symbol: str, bars: AdjustedBars, chosen: list[int]) -> dict[str, Any]:
    """Yahoo's answer with the bars at the positions `chosen`; splits and dividends are separate events."""
    last = bars.sessions[-1]
    closes_at = int(datetime.combine(last, time(16), _ZONE).timestamp())
    meta = {
        "currency": "USD",
        "symbol": symbol,
        "exchangeName": "NYQ" if symbol == "IBM" else "NMS",
        "instrumentType": "EQUITY",
        "firstTradeDate": _opens(bars.sessions[0]),
        "regularMarketTime": closes_at,
        "exchangeTimezoneName": _ZONE.key,
        "regularMarketPrice": float(bars.close[-1]),
        "priceHint": 2,
        "dataGranularity": "1d",
        "range": "",
        "validRanges": ["1d", "5d", "1mo", "1y", "max"],
    }
    result: dict[str, Any] = {"meta": meta, "indicators": {"quote": [{}], "adjclose": [{}]}}
    if chosen:
        result["timestamp"] = [_opens(bars.sessions[n]) for n in chosen]
        quote = {name: getattr(bars, name)[chosen].tolist() for name in ("open", "high", "low", "close")}
        quote["volume"] = [int(shares) for shares in bars.volume[chosen]]
        result["indicators"] = {"quote": [quote], "adjclose": [{"adjclose": bars.adj_close[chosen].tolist()}]}
    events = {"splits": _splits(bars, chosen), "dividends": _dividends(bars, chosen)}
    if any(events.values()):
        result["events"] = {name: found for name, found in events.items() if found}
    return {"chart": {"result": [result], "error": None}}


def _splits(bars: AdjustedBars, chosen: list[int]) -> dict[str, dict[str, Any]]:
    found = [(_opens(bars.sessions[n]), float(bars.splits[n])) for n in chosen if bars.splits[n]]
    return {
        str(at): {"date": at, "numerator": ratio, "denominator": 1.0, "splitRatio": f"{ratio:g}:1"}
        for at, ratio in found
    }


def _dividends(bars: AdjustedBars, chosen: list[int]) -> dict[str, dict[str, Any]]:
    found = [(_opens(bars.sessions[n]), float(bars.dividends[n])) for n in chosen if bars.dividends[n]]
    return {str(at): {"date": at, "amount": amount} for at, amount in found}
