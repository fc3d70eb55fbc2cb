"""Quotes from Alpha Vantage: its limits respected, its errors inside HTTP 200 understood, the key in no log."""

import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from pydantic import TypeAdapter

from stream_ticks.settings import AlphaVantageSettings
from ticklake.backoff import equal_jitter, exponential
from ticklake.errors import ConfigurationError
from ticklake.records import Price, TickVolume

_PRICE, _VOLUME = TypeAdapter[float](Price), TypeAdapter[int](TickVolume)
_DAY, _MINUTE = 86_400.0, 60.0
_LONGEST_WAIT = 3600.0
_ERROR_WAIT_FIRST, _ERROR_WAIT_LAST = 3.0, 450.0


@dataclass(frozen=True)
class Quote:
    """GLOBAL_QUOTE's data of a symbol."""

    price: float
    day_volume: int
    """Shares traded since the session's open."""
    trading_day: str


@dataclass(frozen=True)
class Limited:
    """Alpha Vantage asks to wait."""

    reason: str
    daily: bool
    seconds: float = _MINUTE


@dataclass(frozen=True)
class Unknown:
    """There is no such symbol."""


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
        self._url = str(settings.base_url)
        self._http = httpx.Client(timeout=settings.timeout_seconds)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def quote(self, symbol: str) -> Answer:
        """The latest quote of `symbol`.

        Raises:
            ConfigurationError: the key is wrong or may not be used for this.
        """
        try:
            response = self._http.get(
                self._url, params={"function": "GLOBAL_QUOTE", "symbol": symbol, "apikey": self._key}
            )
        except httpx.HTTPError as error:
            return Failed(f"no answer: {type(error).__name__}")
        if response.status_code in (401, 403):
            raise ConfigurationError(_wrong_key(f"HTTP {response.status_code}"))
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            after = response.headers.get("Retry-After", "")
            return Limited("HTTP 429", daily=False, seconds=float(after) if after.isdigit() else _MINUTE)
        if response.status_code != httpx.codes.OK:
            return Failed(f"HTTP {response.status_code}")
        try:
            body = json.loads(response.content)
        except ValueError:
            return Failed("the answer is no JSON")
        return self._understand(body) if isinstance(body, dict) else Failed("the answer is no JSON object")

    def _understand(self, body: dict[str, object]) -> Answer:
        for field in ("Note", "Information"):
            if field in body:
                return self._notice(str(body[field]).replace(self._key, "…"))
        if "Error Message" in body:
            text = str(body["Error Message"]).replace(self._key, "…")
            if "apikey" in text.lower().replace(" ", ""):
                raise ConfigurationError(_wrong_key(text))
            return Unknown()
        quote = body.get("Global Quote")
        if quote == {}:
            return Unknown()
        try:
            assert isinstance(quote, dict)  # noqa: S101
            price = _PRICE.validate_python(float(quote["05. price"]))
            volume = _VOLUME.validate_python(int(quote["06. volume"]))
            return Quote(price, volume, str(quote["07. latest trading day"]))
        except (AssertionError, KeyError, TypeError, ValueError):
            return Failed("the answer has no readable quote")

    def _notice(self, text: str) -> Answer:
        lower = text.lower()
        if any(word in lower for word in ("sparingly", "per second", "per minute")):
            return Limited(text, daily=False)
        if "per day" in lower or "daily" in lower:
            return Limited(text, daily=True, seconds=_LONGEST_WAIT)
        if any(word in lower.replace(" ", "") for word in ("apikey", "premium", "demo")):
            raise ConfigurationError(_wrong_key(text))
        return Limited(text, daily=False)


def _wrong_key(text: str) -> str:
    return f"Alpha Vantage rejects the key ({text[:200]}): check TICKLAKE_ALPHA_VANTAGE_API_KEY"


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
