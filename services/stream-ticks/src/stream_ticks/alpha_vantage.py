"""Quotes from Alpha Vantage: its limits respected, its errors inside HTTP 200 understood, the key in no log."""

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
from pydantic import TypeAdapter

from stream_ticks.settings import AlphaVantageSettings
from ticklake.attempt_loop import run_attempt
from ticklake.backoff import equal_jitter, exponential, retry_after_seconds
from ticklake.errors import ConfigurationError
from ticklake.records import Price, TickVolume

_PRICE, _VOLUME = TypeAdapter[float](Price), TypeAdapter[int](TickVolume)
_DAY, _MINUTE = 86_400.0, 60.0
_LONGEST_WAIT = 3600.0
_ERROR_WAIT_FIRST, _ERROR_WAIT_LAST = 3.0, 450.0
_MOST_BYTES = 64 * 1024
"""Of an answer; a quote has some 400."""
_MOST_CHARACTERS = 300
"""Of a reason in a log line."""
_MOST_REJECTIONS = 3
"""HTTP 401 or 403 so many times in a row is the key's; once, it can be a proxy's."""
_WRONG_KEY = re.compile(r"\bapi ?key\b.{0,30}\b(invalid|missing)\b|\b(invalid|missing)\b.{0,20}\bapi ?key\b")


@dataclass(frozen=True)
class Quote:
    """GLOBAL_QUOTE's data of a symbol."""

    price: float
    day_volume: int
    """Shares traded since the session's open."""
    trading_day: str
    """ISO 8601."""


@dataclass(frozen=True)
class Limited:
    """Alpha Vantage asks to wait."""

    reason: str
    daily: bool
    seconds: float = _MINUTE


@dataclass(frozen=True)
class Unknown:
    """An answer without a quote, as for a symbol that there is not; a known one can get it once."""


@dataclass(frozen=True)
class Failed:
    """No usable answer; a later call may have one."""

    reason: str


Answer = Quote | Limited | Unknown | Failed


class Client:
    """Asks for one quote at a time. No error text and no log line carries the URL, as the key is in it."""

    def __init__(self, settings: AlphaVantageSettings) -> None:
        assert settings.api_key is not None  # noqa: S101 - StreamSettings.chosen_source has seen to it
        self._key = settings.api_key.get_secret_value()
        # httpx logs each request with its whole URL.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._url, self._seconds = str(settings.base_url), settings.timeout_seconds
        self._tls = httpx.create_ssl_context()
        self._accepted = False
        self._rejections = 0

    def quote(self, symbol: str) -> Answer:
        """The latest quote of `symbol`.

        Raises:
            ConfigurationError: the key, which has given no quote in this process, is wrong.
        """
        try:
            status, after, content = run_attempt(self._get(symbol))
        except (httpx.HTTPError, OSError) as error:
            return Failed(f"no answer: {type(error).__name__}")
        if status in (401, 403):
            self._rejections += 1
            return self._rejected(f"HTTP {status}", certain=self._rejections >= _MOST_REJECTIONS)
        self._rejections = 0
        if status == httpx.codes.TOO_MANY_REQUESTS:
            seconds = retry_after_seconds(after, datetime.now(UTC)) or _MINUTE
            return Limited("HTTP 429", daily=False, seconds=min(seconds, _LONGEST_WAIT))
        if status != httpx.codes.OK:
            return Failed(f"HTTP {status}")
        if len(content) > _MOST_BYTES:
            return Failed("the answer is too long")
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            return Failed("the answer is no JSON")
        return self._understand(body, symbol) if isinstance(body, dict) else Failed("the answer is no JSON object")

    async def _get(self, symbol: str) -> tuple[int, str | None, bytes]:
        """Status, Retry-After and body, of which no more is read than needed to see that it is too long."""
        # httpx's own timeouts are for each read alone: a server that drips would hold the call for ever.
        async with asyncio.timeout(self._seconds), httpx.AsyncClient(verify=self._tls, timeout=self._seconds) as http:
            parameters = {"function": "GLOBAL_QUOTE", "symbol": symbol, "apikey": self._key}
            plain = {"Accept-Encoding": "identity"}
            async with http.stream("GET", self._url, params=parameters, headers=plain) as response:
                content = b""
                if response.status_code == httpx.codes.OK:
                    async for part in response.aiter_raw():
                        content += part
                        if len(content) > _MOST_BYTES:
                            break
                return response.status_code, response.headers.get("Retry-After"), content

    def _understand(self, body: dict[str, object], symbol: str) -> Answer:
        for field in ("Note", "Information", "Error Message"):
            if field in body:
                text = str(body[field]).replace(self._key, "…")[:_MOST_CHARACTERS]
                return self._notice(text, is_error=field == "Error Message")
        quote: Any = body.get("Global Quote")
        if quote == {}:
            return Unknown()
        try:
            # Classes of shares have a dot or a dash.
            if str(quote["01. symbol"]).upper().replace(".", "-") != symbol.upper().replace(".", "-"):
                return Failed("the answer is for another symbol")
            day = date.fromisoformat(quote["07. latest trading day"])
            if day > datetime.now(UTC).date() + timedelta(days=1):
                return Failed("the answer's trading day is in the future")
            price = _PRICE.validate_python(float(str(quote["05. price"])))
            volume = _VOLUME.validate_python(int(str(quote["06. volume"])))
        except (KeyError, TypeError, ValueError):
            return Failed("the answer has no readable quote")
        self._accepted = True
        return Quote(price, volume, day.isoformat())

    def _notice(self, text: str, *, is_error: bool) -> Answer:
        lower = text.lower()
        if _WRONG_KEY.search(lower):
            return self._rejected(text, certain=True)
        if is_error:
            return Unknown() if "invalid api call" in lower else Failed(text)
        short = any(word in lower for word in ("sparingly", "per second", "per minute"))
        if not short and ("per day" in lower or "daily" in lower):
            return Limited(text, daily=True, seconds=_LONGEST_WAIT)
        return Limited(text, daily=False)

    def _rejected(self, text: str, *, certain: bool) -> Failed:
        """A key that has given a quote is not wrong, whatever an answer says."""
        if certain and not self._accepted:
            raise ConfigurationError(f"Alpha Vantage rejects the key ({text}): check TICKLAKE_ALPHA_VANTAGE_API_KEY")
        return Failed(text)


class Pace:
    """When the next call is allowed.

    The first round goes as fast as the minute allows; after it the calls are spread evenly, so that the day's budget
    lasts all day. What was spent is remembered as long as the process lives; a new process learns from the answers.
    """

    def __init__(
        self, settings: AlphaVantageSettings, symbols: int, interval: float, clock: Callable[[], float]
    ) -> None:
        """Keep the limits.

        Args:
            interval: seconds between two rounds, if the limits allow.
            clock: a monotonic clock, in seconds.
        """
        self._settings, self._clock = settings, clock
        self._calls: deque[float] = deque(maxlen=max(settings.daily_limit, settings.minute_limit))
        self._spent = 0
        self._first_round = symbols
        self._least = max(interval / symbols, settings.spacing_seconds)
        self._first_call: float | None = None
        self._blocked_until = float("-inf")
        self._failures = 0

    def wait_seconds(self) -> float:
        """How long to wait before the next call, 0 for not at all."""
        now, calls, limits = self._clock(), self._calls, self._settings
        allowed = self._blocked_until
        if calls:
            spacing = limits.spacing_seconds if self._spent < self._first_round else self._even(now)
            allowed = max(allowed, calls[-1] + spacing)
        for limit, period in ((limits.daily_limit, _DAY), (limits.minute_limit, _MINUTE)):
            if len(calls) >= limit:
                allowed = max(allowed, calls[-limit] + period)
        return max(0.0, allowed - now)

    def spend(self) -> None:
        """Count a call."""
        now = self._clock()
        self._calls.append(now)
        self._spent += 1
        if self._first_call is None:
            self._first_call = now

    def _even(self, now: float) -> float:
        # The first round came at once, so on the first day the rest of the budget has to last for the rest of the day.
        first_day = self._first_call is not None and now - self._first_call < _DAY
        left = self._settings.daily_limit - (self._first_round if first_day else 0)
        return max(self._least, _DAY / max(1, left))

    def succeeded(self) -> None:
        """The latest call was answered."""
        self._failures = 0

    def limited(self, answer: Limited) -> float:
        """Wait as asked, longer each time in a row; returns the seconds."""
        return self._block(exponential(self._failures, answer.seconds, _LONGEST_WAIT))

    def failed(self) -> float:
        """Wait after an error, longer each time in a row and never in step with others; returns the seconds."""
        return self._block(equal_jitter(self._failures, _ERROR_WAIT_FIRST, _ERROR_WAIT_LAST))

    def _block(self, seconds: float) -> float:
        self._failures += 1
        self._blocked_until = self._clock() + seconds
        return seconds
