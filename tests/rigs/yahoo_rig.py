"""A local server that gives answers in Yahoo's chart format as a test scripts them, and the answers to give."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date, datetime, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

CASES = Path(__file__).with_name("yahoo_cases")
_CHART = "/v8/finance/chart/"
_STATUS = {"http_404_once": 404, "http_422": 422, "http_401_invalid_crumb": 401}


@dataclass(frozen=True)
class HttpAnswer:
    """One answer: its HTTP status and body; a status of 0 is none, the server stays silent until the test ends."""

    status: int
    body: Any


def case(name: str) -> HttpAnswer:
    """The answer in one of the case files."""
    return HttpAnswer(_STATUS.get(name, 200), json.loads((CASES / f"{name}.json").read_text()))


def chart(
    symbol: str,
    days: Sequence[date],
    closes: Sequence[float],
    *,
    volumes: Sequence[Any] | int = 1000,
    adj_closes: Sequence[float] | None = None,
    events: dict[str, Any] | None = None,
    **meta: Any,
) -> HttpAnswer:
    """A good answer with these bars; what is None in `meta` is left out of it."""
    zone = ZoneInfo("America/New_York")
    stamps = [int(datetime.combine(day, time(9, 30), zone).timestamp()) for day in days]
    described = {
        "currency": "USD",
        "symbol": symbol,
        "instrumentType": "EQUITY",
        "firstTradeDate": stamps[0],
        "regularMarketTime": stamps[-1] + 23_400,
        "exchangeTimezoneName": zone.key,
        "dataGranularity": "1d",
    } | meta
    quote: dict[str, Any] = {name: list(closes) for name in ("open", "high", "low", "close")}
    quote["volume"] = [volumes] * len(days) if isinstance(volumes, int) else list(volumes)
    result: dict[str, Any] = {
        "meta": {name: value for name, value in described.items() if value is not None},
        "timestamp": stamps,
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": list(adj_closes or closes)}]},
    }
    if events:
        result["events"] = {
            kind: {str(number): at | {"date": stamps[at["at"]]} for number, at in enumerate(found)}
            for kind, found in events.items()
        }
    return HttpAnswer(200, {"chart": {"result": [result], "error": None}})


def changed(answer: HttpAnswer, **quote: dict[int, Any]) -> HttpAnswer:
    """`answer` with some values of its columns changed, by position."""
    body = deepcopy(answer.body)
    result = body["chart"]["result"][0]
    for name, values in quote.items():
        columns = result["indicators"]["adjclose"] if name == "adjclose" else result["indicators"]["quote"]
        for place, value in values.items():
            columns[0][name][place] = value
    return HttpAnswer(answer.status, body)


@dataclass
class Script:
    """What the server says of each symbol, answer after answer; the last one stays."""

    answers: dict[str, list[HttpAnswer]]
    asked: list[str] = field(default_factory=list)
    """Symbols of the chart requests, in order."""
    crumbs: int = 0
    """How often a crumb was given."""
    over: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/v1/test/getcrumb":
            self.script.crumbs += 1
            self._send(200, f"crumb{self.script.crumbs}".encode())
        elif path.startswith(_CHART):
            symbol = unquote(path.removeprefix(_CHART))
            self.script.asked.append(symbol)
            waiting = self.script.answers.get(symbol, [case("http_404_once")])
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if answer.status == 0:
                self.script.over.wait()
                self.close_connection = True
                return
            self._send(
                answer.status, answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            )
        else:
            self._send(404, b"")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@contextmanager
def answering(answers: dict[str, HttpAnswer | Sequence[HttpAnswer]]) -> Iterator[tuple[str, Script]]:
    """The server's address and script while the block runs; a symbol that is not in the script is not found."""
    script = Script(
        {symbol: [answer] if isinstance(answer, HttpAnswer) else list(answer) for symbol, answer in answers.items()}
    )
    handler = type("Handler", (_Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", script
    finally:
        script.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
