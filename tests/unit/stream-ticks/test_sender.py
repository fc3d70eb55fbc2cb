"""What is counted as sent, and that a tick which cannot be sent ends the stream."""

import pytest
from prometheus_client import CollectorRegistry

from stream_ticks.metrics import Metrics, Pulse
from stream_ticks.sender import Sender
from ticklake.errors import StageError
from ticklake.records import Source


class Full:
    """Takes two messages."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def send(self, topic: str, *, key: bytes, value: bytes) -> None:
        if len(self.taken) == 2:
            raise StageError("not accepted")
        self.taken.append(value)

    def check(self) -> int:
        return 0


def test_a_tick_that_is_not_accepted_is_an_error_and_is_not_counted() -> None:
    producer, metrics = Full(), Metrics(CollectorRegistry())
    sender = Sender(producer, "t", ["A"], "run", Source.SIMULATED, metrics, Pulse())  # type: ignore[arg-type]
    with pytest.raises(StageError, match="not accepted"):
        sender.send(((b"A", value) for value in (b"1", b"22", b"333", b"4444")), 0)
    assert (producer.taken, sender.sent) == ([b"1", b"22"], 2)
    assert metrics.ticks.labels("A", "simulated")._value.get() == 2
    assert metrics.bytes._value.get() == 3
