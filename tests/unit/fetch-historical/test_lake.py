"""What the lake says of a symbol, with no more reading than that takes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from fetch_historical.doubts import Known
from fetch_historical.lake import KnownSymbols
from ticklake import names
from ticklake.manifests import DailyManifest, SessionSpan
from ticklake.objects import ObjectInfo
from ticklake.records import Source

FIRST = date(2026, 1, 1)


@dataclass
class Store:
    """A bucket in memory that counts what is read."""

    objects: dict[str, bytes] = field(default_factory=dict)
    described: dict[str, dict[str, str]] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def get(self, key: str) -> bytes:
        self.read.append(key)
        return self.objects[key]

    def metadata(self, key: str) -> dict[str, str] | None:
        return self.described.get(key)

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        return (ObjectInfo(key, 1) for key in sorted(self.objects) if key.startswith(prefix))

    def add(self, day: int, *symbols: str, source: Source = Source.YAHOO) -> None:
        at = FIRST + timedelta(days=day)
        manifest = DailyManifest(
            objects=(), run_id=f"run{day}", batch_id=f"run{day}", batch_date=at, source=source,
            fetched_at=datetime(2026, 8, 1, tzinfo=UTC),
            spans={symbol: SessionSpan(first=FIRST, last=at, rows=1) for symbol in symbols},
        )  # fmt: skip
        self.objects[names.processed_daily_manifest_key(at)] = manifest.model_dump_json().encode()

    def known(self, *symbols: str, source: Source = Source.YAHOO) -> KnownSymbols:
        return KnownSymbols(self, source, symbols)  # type: ignore[arg-type]


def on(day: int, currency: str | None = None) -> Known:
    return Known(FIRST, FIRST + timedelta(days=day), currency)


def test_the_newest_batch_that_has_the_symbol_tells() -> None:
    store = Store()
    for day in range(100):
        store.add(day, "A", *(["B"] if day < 97 else []))
    store.add(100, "A", "B", source=Source.SIMULATED)
    known = store.known("A", "B")
    assert store.read == []
    assert [known.of("A"), known.of("B"), known.of("A")] == [on(99), on(96), on(99)]
    assert len(store.read) == 8
    assert store.known("A", source=Source.SIMULATED).of("A") == on(100)


def test_a_symbol_that_no_batch_has() -> None:
    store = Store()
    assert store.known("A").of("A") is None
    store.add(0, "B")
    known = store.known("A", "B")
    assert (known.of("A"), known.of("B")) == (None, on(0))


def test_the_currency_is_that_of_an_answer_that_was_used() -> None:
    store = Store()
    store.add(5, "A")
    key = names.source_answer_key("run5", "A")
    store.described[key] = {"currency": "USD", "status": "ok"}
    assert store.known("A").of("A") == on(5, "USD")
    # Held, its rows in the manifest are those of the run before.
    store.described[key] = {"currency": "EUR", "status": "held"}
    assert store.known("A").of("A") == on(5)
