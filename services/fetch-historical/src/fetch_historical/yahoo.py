"""Daily bars from Yahoo Finance, through yfinance.

Each outcome is decided by what Yahoo's chart service answered:

- a rate limit (HTTP 429), a server error (5xx), a timeout, no connection, an answer that is no chart: repeated with
  exponential back-off and full jitter, not before a `Retry-After`; then `SourceUnavailableError`;
- HTTP 404, "No data found, symbol may be delisted": the symbol is unknown (Yahoo says the same of one it has dropped);
- a known symbol without bars in the period: delisted where its last trade lies before the period, else empty.
"""

import atexit
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yfinance as yf
from yfinance.cache import get_tz_cache
from yfinance.data import YfData
from yfinance.exceptions import YFException, YFRateLimitError

from fetch_historical.answers import ROWS, Reply, SourceUnavailableError, empty_rows
from fetch_historical.http_session import ChartFacts, YahooSession
from fetch_historical.period import Period
from fetch_historical.settings import YahooSettings
from ticklake import logs
from ticklake.backoff import full_jitter, retry_after_seconds
from ticklake.records import SymbolStatus

if TYPE_CHECKING:
    import pandas as pd

log = logs.get(__name__)

_COLUMNS = {
    "open": "Open", "high": "High", "low": "Low", "close": "Close", "adj_close": "Adj Close", "volume": "Volume",
    "dividends": "Dividends", "stock_splits": "Stock Splits",
}  # fmt: skip


@cache
def _use_own_cache() -> None:
    """Let yfinance keep time zones and cookies in a folder of this process, removed at its end.

    Its own choice lies under the home folder, which a pod may not write, and would carry over from run to run. It
    opens the database there once per process, hence the cache on this function.
    """
    try:
        folder = tempfile.mkdtemp(prefix="ticklake-yahoo-")
    except OSError:
        folder = f"{os.devnull}/none"  # where no folder can be made, yfinance goes without
    else:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    yf.set_tz_cache_location(folder)


class YahooSource:
    """Asks Yahoo; use it as a context manager.

    Args:
        sleep: how to wait between attempts.
        now: the clock.
        rng: where the jitter comes from.
    """

    def __init__(
        self, settings: YahooSettings, *, sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC), rng: random.Random | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._sleep = sleep
        self._now = now
        self._rng = rng or random.Random()  # noqa: S311 - jitter needs no secrecy
        _use_own_cache()
        # By default yfinance logs an error and returns no rows, so that a timeout looks like an empty answer.
        yf.config.debug.hide_exceptions = False
        self._session = YahooSession(settings)

    def __enter__(self) -> "YahooSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def ask(self, symbol: str, period: Period) -> Reply:
        """See `DataSource.ask`."""
        # With the time zone forgotten, yfinance first asks for the symbol's description, which says when it was last
        # traded. It is kept over the attempts, because yfinance asks for it only once.
        get_tz_cache().store(symbol, None)
        facts = ChartFacts()
        for attempt in range(self._settings.attempts):
            try:
                return self._ask_once(symbol, period, facts)
            except SourceUnavailableError as error:
                pause = full_jitter(
                    attempt, self._settings.backoff_base_seconds, self._settings.backoff_cap_seconds, self._rng
                )
                pause = max(pause, error.retry_after or 0.0)
                if attempt + 1 == self._settings.attempts or pause > self._settings.backoff_cap_seconds:
                    raise
                log.warning("asking again", symbol=symbol, reason=str(error), seconds=round(pause, 2))
                self._sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _ask_once(self, symbol: str, period: Period, facts: ChartFacts) -> Reply:
        self._session.facts = facts
        # yfinance remembers responses, failed ones too, and would repeat them to a second attempt.
        YfData.cache_get.cache_clear()
        asked_at = self._now()
        problem: Exception | None = None
        rows = empty_rows()
        try:
            frame = yf.Ticker(symbol, session=self._session).history(
                start=period.first, end=period.last + timedelta(days=1), interval="1d", auto_adjust=False,
                actions=True, keepna=True, timeout=self._settings.timeout_seconds,
            )  # fmt: skip
            rows = _rows(frame)
        # yfinance lets through whatever its parsing of an unexpected answer meets; what it was is judged below.
        except Exception as error:
            problem = error
        if problem is None and rows.num_rows:
            return Reply(SymbolStatus.OK, rows, asked_at)
        status, reason = judge(facts, period, problem, self._now())
        return Reply(status, empty_rows(), asked_at, f"{symbol}: {reason}")


def judge(
    facts: ChartFacts, period: Period, problem: Exception | None, now: datetime
) -> tuple[SymbolStatus, str]:  # fmt: skip
    """What an answer without rows means: the status and why.

    Raises:
        SourceUnavailableError: it is no answer; asking again may help.
    """
    if facts.status == 429 or isinstance(problem, YFRateLimitError):
        raise SourceUnavailableError(
            "Yahoo limits the rate of requests (HTTP 429): wait and retry",
            retry_after=retry_after_seconds(facts.retry_after, now),
        )
    if facts.status is None and not isinstance(problem, OSError):
        raise SourceUnavailableError(f"yfinance failed before Yahoo answered ({_brief(problem)})", reachable=False)
    if facts.status is None:
        raise SourceUnavailableError(
            f"Yahoo does not answer ({_brief(problem)}): is there a way to the internet, "
            "and TICKLAKE_YAHOO_ENDPOINT right?",
            reachable=False,
        )
    if facts.status >= 500:
        raise SourceUnavailableError(
            f"Yahoo failed with HTTP {facts.status}", retry_after=retry_after_seconds(facts.retry_after, now)
        )
    if facts.error_code == "Not Found":
        return SymbolStatus.UNKNOWN, facts.error_text or "not found"
    # The chart service knew the symbol but has nothing in the period, in either of its two ways to say so.
    nothing = facts.is_chart and not facts.error_code and not facts.bars
    if nothing or "doesn't exist" in (facts.error_text or ""):
        if facts.last_trade is not None and facts.last_trade < period.first:
            return SymbolStatus.DELISTED, f"its last trade was on {facts.last_trade}, before {period.first}"
        since = f", first traded on {facts.first_trade}" if facts.first_trade else ""
        return SymbolStatus.EMPTY, f"no session from {period.first} to {period.last}{since}"
    if facts.error_code is not None:
        raise SourceUnavailableError(f"Yahoo answered HTTP {facts.status}: {facts.error_code}, {facts.error_text}")
    raise SourceUnavailableError(f"Yahoo's answer is not understood (HTTP {facts.status}, {_brief(problem)})")


def _brief(problem: Exception | None) -> str:
    if problem is None:
        return "no rows"
    # libcurl's messages end in a hint at its own documentation.
    text = str(problem).partition(". See https:")[0]
    return text if isinstance(problem, YFException) else f"{type(problem).__name__}: {text}"


def _rows(frame: "pd.DataFrame") -> pa.Table:
    columns: dict[str, Any] = {"session_date": pa.array([stamp.date() for stamp in frame.index], pa.date32())}
    for name, theirs in _COLUMNS.items():
        columns[name] = pa.array(frame[theirs].to_numpy("float64"), pa.float64())
    return pa.table(columns, schema=ROWS)
