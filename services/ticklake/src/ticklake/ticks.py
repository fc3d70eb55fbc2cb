"""The messages of the live topic: what a valid tick is, the same for every reader of the topic.

The README of this library has the rules as a table.
"""

from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError

from ticklake.records import Tick, reason_of

MAX_BYTES = 4096
"""Of a message's value: ten times what a tick needs, so that no message costs a reader much time or memory."""

_TEXTS = 4
"""A tick's values in quotes: symbol, event_time, producer_run, source."""

_validate = partial(Tick.model_validate_json, strict=True)


@dataclass(frozen=True, slots=True)
class InvalidTick:
    """A message that is no valid tick."""

    reason: str
    from_future: bool = False
    """Whether that is all: a tick whose event time lies too far after its append time."""


def read_tick(
    key: bytes | None, value: bytes | None, append_ms: int, future_tolerance: float | None = None
) -> Tick | InvalidTick:
    """The tick in a message, or why it has none; raises nothing, whatever the message.

    A function of the message alone, so every reader and every repetition decides alike.

    Args:
        append_ms: the broker's append time, in milliseconds since 1970.
        future_tolerance: how far the event time may lie after the append time, in seconds; None is any distance.
    """
    if not value:
        return InvalidTick("no value")
    if len(value) > MAX_BYTES:
        return InvalidTick(f"{len(value)} bytes, more than {MAX_BYTES}")
    try:
        tick = _validate(value)
    except ValidationError as error:
        return InvalidTick(reason_of(error))
    # The parser keeps the last of several values of one name. All names are known by now: if there are more quotation
    # marks than those around names and texts, a name is there again, or marks within a text are escaped.
    quotes = 2 * (len(tick.model_fields_set) + _TEXTS)
    if value.count(b'"') != quotes and _unescaped(value).count(b'"') != quotes:
        return InvalidTick("a name is there more than once")
    if key != tick.symbol.encode():
        return InvalidTick(f"key: should be the symbol {tick.symbol}")
    if future_tolerance is not None and tick.event_ms > append_ms + future_tolerance * 1000:
        reason = f"event_time: lies more than {future_tolerance:g} s after the time of its arrival"
        return InvalidTick(reason, from_future=True)
    return tick


def _unescaped(value: bytes) -> bytes:
    """Valid JSON without escaped backslashes and quotation marks."""
    return value.replace(rb"\\", b"").replace(rb"\"", b"")
