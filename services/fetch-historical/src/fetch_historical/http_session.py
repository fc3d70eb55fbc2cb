"""The HTTP session that yfinance is handed: where its requests go, how long they wait, what came back."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from curl_cffi import requests

from fetch_historical.settings import YahooSettings

_CHART = "/v8/finance/chart/"
_EXCERPT = 60


@dataclass
class ChartFacts:
    """What Yahoo's chart service answered for one symbol.

    yfinance turns many different answers into the same error, so the outcome is judged by these instead.
    """

    status: int | None = None
    """HTTP status of the response to the latest chart request, None where none came."""
    retry_after: str | None = None
    is_chart: bool = False
    """Whether the latest response was the chart service's JSON at all."""
    excerpt: str = ""
    """How the latest response begins, where it was not."""
    error_code: str | None = None
    error_text: str | None = None
    chart: dict[str, Any] | None = None
    """The latest response's chart, as it came."""
    meta: dict[str, Any] = field(default_factory=dict)
    """The latest description of the symbol; a response without one leaves it."""

    def begin(self) -> None:
        """A request goes out: forget the response before it, so that none is judged by another's."""
        self.status = self.retry_after = self.error_code = self.error_text = None
        self.is_chart, self.chart, self.excerpt = False, None, ""

    def note(self, status: int, retry_after: str | None, body: bytes) -> None:
        """Take in one response."""
        self.begin()
        self.status, self.retry_after = status, retry_after
        try:
            answer = json.loads(body)
            # What is in front of the chart service, such as the check of the crumb, answers under another name.
            root = answer["chart"] if "chart" in answer else answer["finance"]
            error, result = root["error"], root["result"]
            if error:
                self.error_code, self.error_text = str(error["code"]), str(error["description"])
            elif result:
                self.meta = dict(result[0]["meta"])
                self.chart = dict(result[0])
        except (ValueError, KeyError, TypeError, IndexError):
            self.excerpt = repr(body[:_EXCERPT].decode(errors="replace"))
            return
        self.is_chart = "chart" in answer

    @property
    def bars(self) -> int:
        """Bars in the latest response."""
        return len((self.chart or {}).get("timestamp") or ())


class YahooSession(requests.Session[requests.Response]):
    """A curl session with our timeouts that can send what is meant for Yahoo's hosts somewhere else.

    The redirection happens below yfinance, so all of its code (cookie, crumb, time zone, chart) runs unchanged against
    a local server.
    """

    def __init__(self, settings: YahooSettings) -> None:
        self._endpoint = urlsplit(str(settings.endpoint)) if settings.endpoint else None
        self._timeout = (settings.timeout_seconds, settings.timeout_seconds)
        self.facts = ChartFacts()
        options: dict[str, Any] = {}
        if settings.ca_file is not None:
            options["verify"] = str(settings.ca_file)
        # A given endpoint is asked directly: a proxy for the outer world does not know it.
        super().__init__(impersonate="chrome", trust_env=self._endpoint is None, **options)

    def request(self, method: Any, url: str, **arguments: Any) -> Any:  # type: ignore[override]
        """Send one request; yfinance's own time limits, which differ from call to call, give way to ours."""
        arguments["timeout"] = self._timeout
        if _CHART in url:
            self.facts.begin()
        response = super().request(method, self.route(url), **arguments)
        if _CHART in url:
            self.facts.note(response.status_code, response.headers.get("Retry-After"), response.content)
        return response

    def route(self, url: str) -> str:
        """Where a request for `url` really goes."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if self._endpoint is None or not (host == "yahoo.com" or host.endswith(".yahoo.com")):
            return url
        path = self._endpoint.path.rstrip("/") + (parts.path or "/")
        return urlunsplit((self._endpoint.scheme, self._endpoint.netloc, path, parts.query, ""))
