"""Where a local run takes its bars from, and for which date."""

import socket
from datetime import UTC, date, datetime

import pytest

from ticklake.records import Source
from ticklake_local import batch_source
from ticklake_local.batch_source import BatchInput


@pytest.mark.parametrize("name", ["yahoo", "replay", "simulated"])
def test_a_chosen_source_is_taken_as_it_is_and_nothing_is_printed(name: str) -> None:
    printed: list[str] = []
    asked = batch_source.choose(name, date(2010, 6, 1), "IBM,AAPL", printed.append)
    assert asked == BatchInput(Source(name), date(2010, 6, 1), "IBM,AAPL")
    assert printed == []


def test_auto_says_why_it_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The top-level domain `invalid` never exists (RFC 2606)."""
    monkeypatch.setattr(batch_source, "_YAHOO_HOST", "yahoo.invalid")
    printed: list[str] = []
    asked = batch_source.choose("auto", None, "IBM", printed.append)
    assert asked == BatchInput(Source.REPLAY, date(2013, 3, 1), "IBM")
    assert len(printed) == 1
    assert printed[0].startswith("Yahoo Finance cannot be used (yahoo.invalid does not answer: ")
    assert "source replay" in printed[0]


def test_auto_takes_yahoo_where_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        connect = socket.create_connection
        # The port is Yahoo's own (443): only the address is turned aside.
        monkeypatch.setattr(batch_source.socket, "create_connection", lambda _, timeout: connect(address, timeout))
        printed: list[str] = []
        assert batch_source.choose("auto", date(2024, 6, 28), None, printed.append).source is Source.YAHOO
        assert printed == []


def test_a_fallback_after_a_failure_keeps_the_symbols_and_the_date_that_was_asked_for() -> None:
    printed: list[str] = []
    wanted = BatchInput(Source.YAHOO, date(2024, 6, 28), "IBM")
    assert batch_source.fall_back(wanted, None, "HTTP 429", printed.append).batch_date == date(2013, 3, 1)
    assert "HTTP 429" in printed[0]
    kept = batch_source.fall_back(wanted, date(2010, 6, 1), "HTTP 429", printed.append)
    assert kept == BatchInput(Source.REPLAY, date(2010, 6, 1), "IBM")


def test_default_dates() -> None:
    """The recording ends on 2013-03-01; the others go up to the last session that has closed."""
    assert batch_source.default_date(Source.REPLAY) == date(2013, 3, 1)
    for source in (Source.YAHOO, Source.SIMULATED):
        found = batch_source.default_date(source)
        assert found.weekday() < 5
        assert 0 <= (datetime.now(UTC).date() - found).days <= 5


def test_fetch_is_configured_by_variables() -> None:
    assert BatchInput(Source.REPLAY, date(2013, 3, 1)).environment() == {"TICKLAKE_SOURCE": "replay"}
    assert BatchInput(Source.SIMULATED, date(2013, 3, 1), "V,KO").environment() == {
        "TICKLAKE_SOURCE": "simulated",
        "TICKLAKE_SYMBOLS": "V,KO",
    }
