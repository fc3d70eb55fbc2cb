"""One odd symbol never stops the others; a source that is away stops all."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from fetch_historical import answer_fetcher
from fetch_historical.answer_fetcher import Collected, collect
from fetch_historical.answer_store import ROWS, AnswerStore, Reply, Scope, SourceUnavailableError, request_header
from fetch_historical.batch_period import Period
from fetch_historical.settings import FetchSettings
from ticklake.objects import ObjectInfo
from ticklake.records import Source, SymbolStatus
from ticklake.settings import CatalogSettings

PERIOD = Period(date(2026, 8, 3), date(2026, 8, 7))
AT = datetime(2026, 8, 7, 22, tzinfo=UTC)
SYMBOLS = tuple("ABCDEFGHIJ")


@dataclass
class Store:
    """A bucket in memory."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def put_if_absent(self, key: str, body: bytes, **_: object) -> bool:
        return self.objects.setdefault(key, body) is body

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        return (ObjectInfo(key, 1) for key in sorted(self.objects) if key.startswith(prefix))


class Scripted:
    """Answers for every symbol but those in `fails`; none after `dies` answers."""

    def __init__(self, fails: dict[str, Scope] | None = None, dies: int = 1000) -> None:
        self.fails, self.dies = fails or {}, dies
        self.asked: list[str] = []

    def ask(self, symbol: str, period: Period) -> Reply:
        self.asked.append(symbol)
        if len(self.asked) > self.dies:
            raise SourceUnavailableError("it is silent")
        if symbol in self.fails:
            raise SourceUnavailableError(f"no {symbol}", scope=self.fails[symbol])
        row = {"session_date": period.last, **dict.fromkeys(ROWS.names[1:], 1.0)}
        return Reply(SymbolStatus.OK, pa.Table.from_pylist([row], schema=ROWS), AT)


@pytest.fixture
def round_of(monkeypatch: pytest.MonkeyPatch):
    store = Store()

    def run(source: Scripted, symbols: tuple[str, ...] = SYMBOLS) -> Collected:
        @answer_fetcher.contextmanager
        def given(*_: object) -> Iterator[Scripted]:
            yield source

        monkeypatch.setattr(answer_fetcher, "_source", given)
        book = AnswerStore(store, "run", Source.YAHOO, request_header(Source.YAHOO, PERIOD, symbols))  # type: ignore[arg-type]
        return collect(book, FetchSettings(catalog=CatalogSettings(uri="sqlite:///none")), PERIOD, symbols)

    run.store = store
    return run


@pytest.mark.parametrize("scope", [Scope.SYMBOL, Scope.UNCLEAR])
@pytest.mark.parametrize("odd", ["A", "E", "J", "AB", "EF", "IJ", "ACJ", "ABC"])
def test_odd_symbols_are_left_and_the_others_go_on(round_of, scope: Scope, odd: str) -> None:
    source = Scripted(dict.fromkeys(odd, scope))
    if scope is Scope.UNCLEAR and odd in ("AB", "ABC"):
        # Nothing has been heard of the source yet: it counts as away.
        with pytest.raises(SourceUnavailableError, match=r"no answer for A, B, .*: no A; a retry asks only"):
            round_of(source)
        assert source.asked == ["A", "B"]
        return
    found = round_of(source)
    assert found.answers.keys() == set(SYMBOLS) - set(odd)
    assert found.unanswered == {symbol: f"no {symbol}" for symbol in odd}
    # Nothing is stored for them, and a retry asks for them alone, and for one to see whether the source is there.
    assert len(round_of.store.objects) == 10 - len(odd)
    recovered = Scripted()
    again = round_of(recovered)
    assert (again.answers.keys(), again.unanswered) == (set(SYMBOLS), {})
    assert recovered.asked == list(odd)


def test_a_retry_that_finds_it_still_odd_goes_on_too(round_of) -> None:
    round_of(Scripted({"C": Scope.UNCLEAR}))
    source = Scripted({"C": Scope.UNCLEAR})
    assert round_of(source).unanswered == {"C": "no C"}
    assert source.asked == ["C", "A"]


@pytest.mark.parametrize("dies", [0, 1, 5, 9])
def test_a_source_that_goes_away_stops_all_and_keeps_what_it_gave(round_of, dies: int) -> None:
    source = Scripted(dies=dies)
    with pytest.raises(SourceUnavailableError, match="it is silent") as caught:
        round_of(source)
    assert len(round_of.store.objects) == dies
    assert ", ".join(SYMBOLS[dies:]) in str(caught.value)
    # Two that fail, and one that has answered before.
    assert len(source.asked) <= dies + 3
    assert round_of(Scripted()).unanswered == {}


def test_a_rate_limit_stops_all(round_of) -> None:
    with pytest.raises(SourceUnavailableError, match="no answer for D: no D"):
        round_of(Scripted({"D": Scope.SOURCE}))


def test_after_two_rate_limits_nothing_more_is_asked(round_of) -> None:
    source = Scripted({"E": Scope.SOURCE, "F": Scope.SOURCE})
    with pytest.raises(SourceUnavailableError, match="no answer for E, F, G, H, I, J: no E"):
        round_of(source)
    assert source.asked == list("ABCDEF")


def test_no_answer_at_all(round_of) -> None:
    with pytest.raises(SourceUnavailableError, match="no answer for A, B"):
        round_of(Scripted({"A": Scope.SYMBOL, "B": Scope.SYMBOL}), ("A", "B"))


def test_one_more_question_decides_for_all_the_silent_ones_so_far(round_of) -> None:
    source = Scripted(dict.fromkeys("EF", Scope.UNCLEAR))
    assert round_of(source).unanswered.keys() == {"E", "F"}
    assert source.asked == [*"ABCDEF", "A", *"GHIJ"]
