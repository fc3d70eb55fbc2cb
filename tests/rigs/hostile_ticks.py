"""Messages for the live topic, good and hostile, that every reader must judge alike."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

APPENDED = 1_769_785_500_000
"""2026-01-30T15:05:00Z, when all of them were appended."""

VALUES: dict[str, Any] = {
    "schema_version": 1,
    "symbol": "AAPL",
    "price": 100.5,
    "volume": 10,
    "event_time": "2026-01-30T15:05:00.000Z",
    "sequence": 1,
    "producer_run": "ext",
    "source": "simulated",
}
TEXT = json.dumps(VALUES)


@dataclass(frozen=True)
class Message:
    """What readers use of a Kafka record."""

    key: bytes | None
    value: bytes | None
    timestamp: int = APPENDED
    offset: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def changed(**values: Any) -> bytes:
    return json.dumps(VALUES | values).encode()


def replaced(old: str, new: str) -> bytes:
    assert old in TEXT
    return TEXT.replace(old, new, 1).encode(errors="surrogatepass")


def at(event_time: str) -> bytes:
    return changed(event_time=event_time)


VALID: dict[str, bytes] = {
    "as it should be": TEXT.encode(),
    "in lines": json.dumps(VALUES, indent=2).encode(),
    "blanks around it": b" \r\n\t" + TEXT.encode() + b"\n",
    "without its schema's version": json.dumps({k: v for k, v in VALUES.items() if k != "schema_version"}).encode(),
    "names in escapes": replaced('"price"', r'"\u0070rice"'),
    "escaped quotes": changed(producer_run='"\\"\\\\" :1,"price":2'),
    "brackets": changed(producer_run="a]b}[{"),
    "escaped text": changed(producer_run="ü€😀"),
    "plain text": json.dumps(VALUES | {"producer_run": "ü€😀"}, ensure_ascii=False).encode(),
    "a long run": changed(producer_run="😀" * 128),
    "a whole price": changed(price=100),
    "a price with an exponent": replaced("100.5", "1.005e2"),
    "least values": changed(price=1e-12, volume=0, sequence=0),
    "greatest values": changed(price=1e18, volume=10**12, sequence=2**63 - 1),
    "nanoseconds": at("2026-01-30T15:04:59.123456789Z"),
    "seconds": at("2026-01-30T15:05:00Z"),
    "an offset": at("2026-01-30T10:05:00-05:00"),
    "a great offset": at("2026-01-30T15:04:00+23:59"),
    "the first moment": at("1970-01-01T00:00:00Z"),
    "a minute ahead": at("2026-01-30T15:06:00.000999Z"),
}

INVALID: dict[str, bytes | None] = {
    "a tombstone": None,
    "empty": b"",
    "a blank": b" ",
    "Go's zero time": at("0001-01-01T00:00:00Z"),
    ".NET's DateTime.MinValue with an offset": at("0001-01-01T00:00:00+01:00"),
    "the end of time with an offset": at("9999-12-31T23:59:59-05:00"),
    "the end of time": at("9999-12-31T23:59:59Z"),
    "the year 0": at("0000-01-01T00:00:00Z"),
    "the year 999": at("999-01-01T00:00:00Z"),
    "the year 10000": at("10000-01-01T00:00:00Z"),
    "before 1970": at("1969-12-31T23:59:59.999Z"),
    "before 1970 by its offset": at("1970-01-01T00:00:00+00:01"),
    "a time without a zone": at("2026-01-30T15:05:00"),
    "lower-case letters": at("2026-01-30t15:05:00z"),
    "a blank for T": at("2026-01-30 15:05:00Z"),
    "no seconds": at("2026-01-30T15:05Z"),
    "a leap second": at("2026-01-30T15:04:60Z"),
    "hour 24": at("2026-01-29T24:00:00Z"),
    "an offset of 24 hours": at("2026-01-30T15:05:00+24:00"),
    "an offset of -24 hours": at("2026-01-30T15:05:00-24:00"),
    "an offset without a colon": at("2026-01-30T15:05:00+0100"),
    "a minus sign beyond ASCII": at("2026-01-30T15:05:00−05:00"),
    "digits beyond ASCII": at("2026-01-30T15:05:0٣Z"),
    "ten digits of a second": at("2026-01-30T15:05:00.1234567891Z"),
    "a line break": at("2026-01-30T15:05:00Z\n"),
    "a day that is not there": at("2026-02-30T15:05:00Z"),
    "no time": at(""),
    "seconds since 1970 as a number": changed(event_time=1769785500),
    "seconds since 1970 as a text": at("1769785500"),
    "a price beyond": changed(price=1e308),
    "a price below": changed(price=1e-300),
    "a denormal price": changed(price=5e-324),
    "just above": changed(price=1.0000000000000002e18),
    "just below": changed(price=9.99999999999e-13),
    "price 0": changed(price=0),
    "price -0.0": changed(price=-0.0),
    "a negative price": changed(price=-1),
    "NaN": replaced("100.5", "NaN"),
    "Infinity": replaced("100.5", "Infinity"),
    "-Infinity": replaced("100.5", "-Infinity"),
    "a price beyond doubles": replaced("100.5", "1e400"),
    "a price of 400 digits": replaced("100.5", "1" * 400),
    "a price of 5,000 digits": replaced("100.5", "1" * 5000),
    "a price in quotes": changed(price="100.5"),
    "a price that is true": changed(price=True),
    "no number: leading zero": replaced("100.5", "0100.5"),
    "no number: plus": replaced("100.5", "+1"),
    "no number: point": replaced("100.5", "1."),
    "no number: hexadecimal": replaced("100.5", "0x10"),
    "a negative volume": changed(volume=-1),
    "a volume with a point": changed(volume=10.0),
    "a volume with an exponent": replaced("10,", "1e2,"),
    "a volume that is true": changed(volume=True),
    "a volume beyond": changed(volume=10**12 + 1),
    "a volume beyond 64 bits": changed(volume=2**63),
    "a volume of 400 digits": changed(volume=int("1" * 400)),
    "a sequence beyond 64 bits": changed(sequence=2**63),
    "a sequence below 0": changed(sequence=-1),
    "a sequence that is false": changed(sequence=False),
    "version true": changed(schema_version=True),
    "version 1.0": changed(schema_version=1.0),
    "version 2": changed(schema_version=2),
    "version null": changed(schema_version=None),
    "an unknown source": changed(source="made up"),
    "a symbol in small letters": changed(symbol="aapl"),
    "a symbol of 21": changed(symbol="A" * 21),
    "a symbol with a line break": changed(symbol="AAPL\n"),
    "no run": changed(producer_run=""),
    "a run of 129": changed(producer_run="a" * 129),
    "NUL in a run": changed(producer_run="a\0b"),
    "a line break in a run": changed(producer_run="a\nb"),
    "a C1 control in a run": changed(producer_run="a\u0085b"),
    "a line separator in a run": changed(producer_run="a\u2028b"),
    "a control character as it is": replaced("ext", "a\x01b"),
    "a lone surrogate": replaced("ext", r"\ud800"),
    "a lone low surrogate": replaced("ext", r"a\udfffb"),
    "a surrogate in UTF-8": replaced("ext", "\ud800"),
    "invalid UTF-8": TEXT.encode().replace(b"ext", b"\xff\xfe"),
    "overlong UTF-8": TEXT.encode().replace(b"ext", b"\xc0\xaf"),
    "UTF-16": TEXT.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "NUL behind": TEXT.encode() + b"\0",
    "garbage behind": TEXT.encode() + b" x",
    "a bracket behind": TEXT.encode() + b"] x",
    "two": TEXT.encode() + TEXT.encode(),
    "two with a comma": f"{TEXT},{TEXT}".encode(),
    "a list": f"[{TEXT}]".encode(),
    "nested": f'{{"tick":{TEXT}}}'.encode(),
    "a text": json.dumps(TEXT).encode(),
    "cut": TEXT.encode()[:-1],
    "a comma too many": TEXT.encode()[:-1] + b",}",
    "single quotes": TEXT.replace('"', "'").encode(),
    "a comment": TEXT.encode() + b"/**/",
    "null": b"null",
    "deep": b"[" * 100_000,
    "deep within": replaced("100.5", "[" * 1000 + "]" * 1000),
    "megabytes": changed(producer_run="a" * 3_000_000),
    "megabytes of blanks": TEXT.encode() + b" " * 2_000_000,
    "a hundred thousand names": json.dumps(VALUES | {f"n{n}": n for n in range(100_000)}).encode(),
    "one more name": changed(more=1),
    "a name twice": replaced('"price": 100.5', '"price": 1.0, "price": 50.0'),
    "a name twice with equal values": replaced('"price": 100.5', '"price": 100.5, "price": 100.5'),
    "a name twice, once in escapes": replaced('"price": 100.5', r'"price": 1.0, "\u0070rice": 50.0'),
    "a name twice beside escaped quotes": replaced('"ext"', r'"a\"b\\", "price": 50.0'),
    "a name twice, nested": replaced('"price": 100.5', '"price": {"price": [1]}, "price": 50.0'),
    "a text twice": replaced('"source"', '"source": "yahoo", "source"'),
    "the version twice": replaced('"schema_version": 1', '"schema_version": 1, "schema_version": 1'),
} | {
    f"without {name}": json.dumps({k: v for k, v in VALUES.items() if k != name}).encode()
    for name in VALUES
    if name != "schema_version"
}

FUTURE: dict[str, bytes] = {
    "a minute and a millisecond ahead": at("2026-01-30T15:06:00.001Z"),
    "an hour ahead": at("2026-01-30T16:05:00Z"),
    "the last moment": at("2261-12-31T23:59:59.999Z"),
}

WRONG_KEYS: tuple[bytes | None, ...] = (
    None,
    b"",
    b"MSFT",
    b"aapl",
    b"AAPL ",
    b"AAPL\0",
    b'"AAPL"',
    b'{"symbol":"AAPL"}',
    "ＡＡＰＬ".encode(),
    "\u0410APL".encode(),
    "AAPL\u200b".encode(),
    "AAPL".encode("utf-16"),
    b"\xff\xfe",
    b"A" * 2_000_000,
)

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([10**400, 1e-12, 1e18, -0.0, 5e-324, 2**63, "1", "2026-01-30T15:05:00Z", "\ud800", "AAPL"]),
)
_json = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner))


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Ticks that are changed a little, or not at all."""
    pairs = list(VALUES.items())
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(pairs) - 1))
        match draw(st.sampled_from(["replace", "drop", "again", "add", "move"])):
            case "replace":
                pairs[place] = (pairs[place][0], draw(_json))
            case "drop":
                del pairs[place]
            case "again":
                pairs.append((pairs[place][0], draw(st.one_of(st.just(pairs[place][1]), _json))))
            case "add":
                pairs.insert(place, (draw(st.text(max_size=6)), draw(_json)))
            case "move":
                pairs.append(pairs.pop(place))
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]))
    plain = draw(st.booleans())
    members = (colon.join(json.dumps(part, ensure_ascii=plain) for part in pair) for pair in pairs)
    value = f"{{{comma.join(members)}}}".encode(errors="surrogatepass")
    match draw(st.sampled_from(["whole", "whole", "whole", "cut", "bytes", "flip"])):
        case "cut":
            value = value[: draw(st.integers(0, len(value)))]
        case "bytes":
            value += draw(st.binary(max_size=3))
        case "flip":
            place = draw(st.integers(0, len(value) - 1))
            value = value[:place] + draw(st.binary(min_size=1, max_size=2)) + value[place + 1 :]
    key = draw(st.one_of(st.just(b"AAPL"), st.just(b"AAPL"), st.just(b"AAPL"), st.binary(max_size=5), st.none()))
    ahead = draw(st.sampled_from([0, 0, 0, -(10**7), -60_000, -60_001, -1_769_785_500_001, 10**12]))
    return Message(key, value, APPENDED + ahead)
