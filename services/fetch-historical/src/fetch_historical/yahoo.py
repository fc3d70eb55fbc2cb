"""Daily bars from Yahoo Finance: yfinance asks (cookies, crumb, consent), and the answer is read and judged here.

Each outcome is decided by what Yahoo's chart service answered:

- a rate limit (HTTP 429), a server error (5xx), a timeout, no connection, an answer that is no chart, any other
  rejection: repeated with exponential back-off and full jitter, not before a `Retry-After`; then
  `SourceUnavailableError`;
- a rejected crumb (HTTP 401, 403): the same, with new cookies and a new crumb;
- rows that contradict the question or themselves: repeated too; then the symbol is held (see `doubts`);
- HTTP 404, "No data found, symbol may be delisted": once confirmed, the symbol is unknown (Yahoo says the same of one
  that it has dropped); no bars in the period: once confirmed, delisted where its last trade lies before the period,
  else empty. Where the lake has rows that speak against it, there is no answer.
"""

import atexit
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from functools import cache
from typing import Any
from urllib.parse import quote

import yfinance as yf
from yfinance.cache import get_cookie_cache
from yfinance.data import YfData
from yfinance.exceptions import YFException, YFRateLimitError

from fetch_historical import answer_checks
from fetch_historical.answer_checks import Known
from fetch_historical.answer_store import Reply, Scope, SourceUnavailableError, empty_rows
from fetch_historical.batch_period import Period, closed_sessions
from fetch_historical.http_session import ChartFacts, YahooSession
from fetch_historical.settings import SETTLE_MINUTES, YahooSettings
from fetch_historical.yahoo_chart import Chart, read_chart, read_meta
from ticklake import calendar, logs
from ticklake.backoff import RANDOM, full_jitter, retry_after_seconds
from ticklake.records import SymbolStatus

log = logs.get(__name__)

_CHART = "https://query2.finance.yahoo.com/v8/finance/chart/"
_EVENTS = {"interval": "1d", "includePrePost": "false", "events": "div,splits,capitalGains"}
_REJECTED = (401, 403)
_CONFIRMED = 2
"""Answers that say the same before a symbol counts as unknown, delisted or empty."""


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
        calendar_code: the exchange whose sessions an answer is held against.
        settle: how long after its close a session's bar counts as final.
        known: what the lake has of a symbol.
        sleep: how to wait between attempts.
        now: the clock.
        rng: where the jitter comes from.
    """

    def __init__(
        self,
        settings: YahooSettings,
        *,
        calendar_code: str = "XNYS",
        settle: timedelta = timedelta(minutes=SETTLE_MINUTES),
        known: Callable[[str], Known | None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random = RANDOM,
    ) -> None:
        self._settings = settings
        self._code = calendar_code
        self._settle = settle
        self._known = known
        self._sleep = sleep
        self._now = now
        self._rng = rng
        _use_own_cache()
        self._session = YahooSession(settings)

    def __enter__(self) -> "YahooSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def ask(self, symbol: str, period: Period) -> Reply:
        """See `DataSource.ask`."""
        counts: Counter[SymbolStatus] = Counter()
        attempts = self._settings.attempts
        for attempt in range(attempts):
            wait = 0.0
            outcome: Reply | SourceUnavailableError
            try:
                outcome = self._ask_once(symbol, period)
            except SourceUnavailableError as error:
                outcome, why, wait = error, str(error), error.retry_after or 0.0
            else:
                counts[outcome.status] += 1
                if outcome.status is SymbolStatus.OK:
                    return outcome
                why = "; ".join(outcome.reasons) or outcome.reason
                if outcome.status is not SymbolStatus.HELD and counts[outcome.status] >= min(_CONFIRMED, attempts):
                    return self._if_possible(symbol, period, outcome)
            pause = full_jitter(
                attempt, self._settings.backoff_base_seconds, self._settings.backoff_cap_seconds, self._rng
            )
            pause = max(pause, wait)
            if attempt + 1 == attempts or pause > self._settings.backoff_cap_seconds:
                break
            log.warning("asking again", symbol=symbol, reason=why, seconds=round(pause, 2))
            self._sleep(pause)
        if isinstance(outcome, SourceUnavailableError):
            raise outcome
        if outcome.status is not SymbolStatus.HELD:
            raise SourceUnavailableError(f"only one of {attempts} answers reported: {outcome.reason}")
        return outcome

    def _ask_once(self, symbol: str, period: Period) -> Reply:
        asked_at = self._now()
        facts = self._session.facts = ChartFacts()
        # A day lasts from 14 hours before it does in UTC to 12 hours after; what is too much is left out in reading.
        # Up to now whatever the period's end: the prices are adjusted for all splits up to now, which come with it.
        midnight = datetime.combine(period.first, time_of_day(), UTC)
        end = max(asked_at, datetime.combine(period.last, time_of_day(), UTC)) + timedelta(days=1)
        span: dict[str, object] = {
            "period1": int((midnight - timedelta(hours=14)).timestamp()),
            "period2": int((end + timedelta(hours=12)).timestamp()),
        }
        problem = self._get(symbol, {**span, **_EVENTS})
        zone = calendar.zone(self._code)
        if facts.chart is not None and facts.bars and problem is None:
            try:
                chart = read_chart(facts.chart, period, zone)
            except ValueError as error:
                problem = error
            else:
                if chart.rows.num_rows:
                    return self._judged(symbol, period, chart, asked_at)
                facts.chart = None  # it has bars, but of other days
        if _has_nothing(facts) and not facts.meta:
            facts.meta = self._description(symbol)
        status, reason = judge(facts, period, problem, self._now(), zone)
        return Reply(status, empty_rows(), asked_at, f"{symbol}: {reason}")

    def _description(self, symbol: str) -> dict[str, Any]:
        """What an answer without bars may not claim about its symbol, and what distinguishes delisted from empty."""
        facts = self._session.facts = ChartFacts()
        self._get(symbol, {"range": "1d", "interval": "1d"})
        return facts.meta

    def _judged(self, symbol: str, period: Period, chart: Chart, asked_at: datetime) -> Reply:
        closed = closed_sessions(self._code, period, asked_at - self._settle)
        found = answer_checks.reasons(symbol, period, closed, chart, self._known(symbol))
        ended = answer_checks.ended(chart.meta, closed)
        note = (f"it is no longer traded, as the source says: the last trade was on {ended}",) if ended else ()
        return Reply(
            SymbolStatus.HELD if found else SymbolStatus.OK,
            chart.rows,
            asked_at,
            reasons=found,
            currency=chart.meta.currency,
            actions=chart.actions,
            notes=(*chart.notes, *note),
            ended=ended,
        )

    def _if_possible(self, symbol: str, period: Period, reply: Reply) -> Reply:
        """`reply`, which says that there is nothing, unless the lake has what it denies.

        Raises:
            SourceUnavailableError: it has.
        """
        known = self._known(symbol)
        within = known is not None and known.first <= period.last and known.last >= period.first
        if known is None or not (within or reply.status is SymbolStatus.UNKNOWN):
            return reply
        raise SourceUnavailableError(
            f"{reply.reason.removeprefix(f'{symbol}: ')} ({reply.status}), but the lake has its sessions from "
            f"{known.first} to {known.last}",
            scope=Scope.SYMBOL,
        )

    def _get(self, symbol: str, params: Mapping[str, object]) -> Exception | None:
        """Send one request; its answer is in the session's facts. What went wrong instead, if anything did."""
        data = YfData(session=self._session)
        try:
            data.get(_CHART + quote(symbol, safe=""), params=dict(params), timeout=self._settings.timeout_seconds)
        # yfinance lets through whatever its handling of cookies and consent meets; what it was is judged later.
        except Exception as error:
            return error
        finally:
            if self._session.facts.status in _REJECTED:
                self._forget_cookies(data)
        return None

    def _forget_cookies(self, data: YfData) -> None:
        # yfinance keeps cookie and crumb for the process, the cookie in its cache too: it would reuse a rejected one.
        self._session.cookies.clear()
        get_cookie_cache().store("curlCffi", None)
        data._cookie = data._crumb = None


def _has_nothing(facts: ChartFacts) -> bool:
    """Whether the chart service has no bars in the period, in either of its two ways to say so."""
    nothing = facts.is_chart and not facts.error_code and not facts.bars
    return nothing or (facts.is_chart and "doesn't exist" in (facts.error_text or ""))


def judge(
    facts: ChartFacts, period: Period, problem: Exception | None, now: datetime, zone: str = "UTC"
) -> tuple[SymbolStatus, str]:
    """What an answer without rows means: the status and why.

    Raises:
        SourceUnavailableError: it is no answer; asking again may help.
    """
    if facts.status == 429 or isinstance(problem, YFRateLimitError):
        raise SourceUnavailableError(
            "Yahoo limits the rate of requests (HTTP 429): wait and retry",
            scope=Scope.SOURCE,
            retry_after=retry_after_seconds(facts.retry_after, now),
        )
    if facts.status is None and not isinstance(problem, OSError):
        raise SourceUnavailableError(f"yfinance failed before Yahoo answered ({_brief(problem)})")
    if facts.status is None:
        raise SourceUnavailableError(
            f"Yahoo does not answer ({_brief(problem)}): is there a way to the internet, "
            "and TICKLAKE_YAHOO_ENDPOINT right?"
        )
    if facts.status >= 500:
        raise SourceUnavailableError(
            f"Yahoo failed with HTTP {facts.status}", retry_after=retry_after_seconds(facts.retry_after, now)
        )
    if facts.status in _REJECTED:
        raise SourceUnavailableError(
            f"Yahoo rejects cookie and crumb, new ones too (HTTP {facts.status}: {facts.error_code or 'no reason'}, "
            f"{facts.error_text or _brief(problem)})"
        )
    if facts.error_code == "Not Found":
        return SymbolStatus.UNKNOWN, facts.error_text or "not found"
    if _has_nothing(facts):
        meta = read_meta(facts.meta, zone)
        if meta.last_trade is not None and meta.last_trade < period.first:
            return SymbolStatus.DELISTED, f"its last trade was on {meta.last_trade}, before {period.first}"
        since = f", first traded on {meta.first_trade}" if meta.first_trade else ""
        return SymbolStatus.EMPTY, f"no session from {period.first} to {period.last}{since}"
    if facts.error_code is not None:
        raise SourceUnavailableError(
            f"Yahoo answered HTTP {facts.status}: {facts.error_code}, {facts.error_text}",
            scope=Scope.SYMBOL if facts.is_chart and 400 <= facts.status < 500 else Scope.UNCLEAR,
        )
    said = f"it begins with {facts.excerpt}" if facts.excerpt else _brief(problem)
    raise SourceUnavailableError(f"Yahoo's answer is not understood (HTTP {facts.status}, {said})")


def _brief(problem: Exception | None) -> str:
    if problem is None:
        return "no rows"
    # libcurl's messages end in a hint at its own documentation.
    text = str(problem).partition(". See https:")[0]
    return text if isinstance(problem, YFException | ValueError) else f"{type(problem).__name__}: {text}"
