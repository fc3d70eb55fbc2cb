"""How far a query is behind, from what Spark reports of its micro-batches."""

from types import SimpleNamespace
from typing import Any

from stream_analytics.topic_monitor import behind, reached_offsets


def _progress(*sources: tuple[str, str | None]) -> Any:
    return SimpleNamespace(sources=[SimpleNamespace(description=what, endOffset=end) for what, end in sources])


def test_a_batch_reached_the_end_offsets_of_its_kafka_source() -> None:
    heartbeats = ("RateStreamV2[rowsPerSecond=1]", "17")
    kafka = ("KafkaV2[Subscribe[ticks]]", '{"ticks":{"0":120,"1":7,"10":3}}')
    assert reached_offsets(_progress(heartbeats, kafka), "ticks") == {0: 120, 1: 7, 10: 3}
    assert reached_offsets(_progress(heartbeats), "ticks") is None
    assert reached_offsets(_progress(("KafkaV2[Subscribe[ticks]]", None)), "ticks") is None


def test_what_no_batch_has_read_is_behind() -> None:
    assert behind({0: 120, 1: 9}, {0: 120, 1: 7}) == 2
    # A partition that was added since, and an answer from before the batch's end.
    assert behind({0: 100, 1: 9, 2: 5}, {0: 120, 1: 9}) == 5
