"""The wire rules as column expressions against pydantic's `Tick`, the rules' own home."""

import json
import string
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pyspark.sql import Row, SparkSession

from stream_analytics.tick_parsing import from_the_future, parsed, usable
from ticklake.records import Tick

GOOD = {
    "schema_version": 1,
    "symbol": "AAPL",
    "price": 187.5,
    "volume": 3,
    "event_time": "2026-01-31T14:30:00.123Z",
    "sequence": 0,
    "producer_run": "run-1",
    "source": "simulated",
}
APPENDED = datetime(2026, 1, 31, 14, 30, tzinfo=UTC)


def parse(spark: SparkSession, messages: list[bytes | None], appended: datetime = APPENDED) -> list[Row]:
    rows = [(index, None if value is None else bytearray(value), appended) for index, value in enumerate(messages)]
    frame = spark.createDataFrame(rows, "i int, value binary, timestamp timestamp").coalesce(1)
    return parsed(frame).orderBy("i").collect()


def pydantic_tick(message: bytes | None) -> Tick | None:
    try:
        return Tick.model_validate_json(message or b"", strict=True)
    except ValidationError:
        return None


def assert_same(row: Row, message: bytes | None) -> None:
    tick = pydantic_tick(message)
    assert row.valid == (tick is not None), message
    if tick is not None:
        # The session's zone is UTC, but Python shows timestamps in the machine's.
        seen = (row.symbol, row.price, row.volume, row.event_time.astimezone(UTC), row.sequence, row.producer_run)
        assert seen == (tick.symbol, tick.price, tick.volume, tick.event_time, tick.sequence, tick.producer_run)
        assert row.source == tick.source.value


def changed(**fields: Any) -> bytes:
    return json.dumps(GOOD | fields).encode()


def test_each_rule_alone(spark: SparkSession) -> None:
    text = json.dumps(GOOD)
    messages: list[bytes | None] = [
        text.encode(),
        json.dumps(GOOD, indent=2).encode(),
        b" " + text.encode() + b"\n",
        None,
        b"",
        b"null",
        b"{}",
        b"[]",
        b"tick",
        text.encode()[:-1],
        text.encode() + b" x",
        text.encode() + b"}",
        f"{text},{text}".encode(),
        f"[{text}]".encode(),
        f"{text}] x".encode(),
        b"\xff\xfe",
        text.replace("run-1", "\u00fc-\u20ac").encode(),
        text.encode().replace(b"run-1", b"run-\xff"),
        text.replace("187.5", "NaN").encode(),
        text.replace("187.5", "1e400").encode(),
        text.replace("187.5", "1.875e2").encode(),
        *(changed(symbol=value) for value in ("^GSPC", "BRK-B", "", "aapl", "A" * 20, "A" * 21, "AAPL\n", 5, None)),
        *(changed(price=value) for value in (5e-324, 100, 0, -1.0, "1.5", None, True, 0.1 + 0.2, 1e308)),
        *(changed(volume=value) for value in (0, -1, 3.0, 3.5, "3", None, 2**63 - 1)),
        *(changed(sequence=value) for value in (2**40, -1, "0", None)),
        *(changed(producer_run=value) for value in ("", "a]b", 'a\\"}{', 7, None)),
        *(changed(source=value) for value in ("yahoo", "replay", "alpha_vantage", "made up", None)),
        *(changed(schema_version=value) for value in (2, "1", None)),
        *(changed(event_time=f"2026-01-31T14:30:00{end}") for end in ("Z", ".1Z", ".123456Z", "+01:00", "-05:30", "")),
        *(changed(event_time=value) for value in ("2026-02-30T14:30:00Z", "2026-01-31T25:00:00Z", "now", "", None)),
        changed(more=1),
        changed(kind="tick"),
        *(json.dumps({key: value for key, value in GOOD.items() if key != left}).encode() for left in GOOD),
    ]
    rows = parse(spark, messages)
    assert len(rows) == len(messages)
    for row, message in zip(rows, messages, strict=True):
        assert_same(row, message)
    assert sum(row.valid for row in rows) > 25


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
values = st.one_of(st.none(), st.booleans(), numbers, texts, st.just([]), st.just({}))
times = st.builds(
    lambda start, micros, digits, zone: f"{start:%Y-%m-%dT%H:%M:%S}.{micros:06d}"[: 19 + digits] + zone,
    st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),
    st.integers(0, 999_999),
    st.sampled_from([0, 2, 4, 7]),
    st.sampled_from(["Z", "+00:00", "-04:00", "+05:30", ""]),
)
good_ticks = st.fixed_dictionaries(
    {
        "schema_version": st.just(1),
        "symbol": st.text(string.ascii_uppercase + string.digits + ".^=-", min_size=1, max_size=21),
        "price": st.one_of(st.floats(1e-9, 1e12), st.integers(0, 10**6)),
        "volume": st.integers(0, 2**53),
        "event_time": times,
        "sequence": st.integers(0, 2**62),
        "producer_run": texts,
        "source": st.sampled_from(["yahoo", "replay", "simulated", "alpha_vantage", "other"]),
    }
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    fields: dict[str, Any] = draw(good_ticks)
    change = draw(st.sampled_from(["none", "none", "drop", "replace", "add", "cut", "append"]))
    name = draw(st.sampled_from(sorted(GOOD)))
    # A time in another notation than the wire's may be valid for pydantic alone, as the module says.
    if change == "replace" and name != "event_time":
        fields[name] = draw(values)
    elif change == "drop":
        del fields[name]
    elif change == "add":
        fields[draw(texts)] = draw(values)
    names = draw(st.permutations(sorted(fields)))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]))
    text = json.dumps({key: fields[key] for key in names}, separators=separators, ensure_ascii=draw(st.booleans()))
    message = text.encode()
    if change == "cut":
        return message[: draw(st.integers(0, len(message) - 1))]
    return message + draw(st.binary(max_size=4)) if change == "append" else message


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(messages(), min_size=60, max_size=120))
def test_any_message_is_judged_as_pydantic_judges_it(spark: SparkSession, batch: list[bytes]) -> None:
    for row, message in zip(parse(spark, list(batch)), batch, strict=True):
        assert_same(row, message)


def test_a_tick_is_from_the_future_only_beyond_the_tolerance(spark: SparkSession) -> None:
    def at(seconds: float) -> bytes:
        return changed(event_time=(APPENDED + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    frame = spark.createDataFrame(
        [(bytearray(message), APPENDED) for message in (at(-5), at(60), at(60.001), at(7200), b"no tick")],
        "value binary, timestamp timestamp",
    )
    ticks = parsed(frame)
    future = from_the_future(60)
    assert [row[0] for row in ticks.select(future).collect()] == [False, False, True, True, False]
    assert usable(ticks, future).count() == 2
    assert usable(ticks, from_the_future(None)).count() == 4
