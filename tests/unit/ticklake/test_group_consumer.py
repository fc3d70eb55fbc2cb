"""From where a member of a group reads the partitions that it is given."""

from unittest.mock import MagicMock

import pytest
from kafka import TopicPartition

from ticklake import group_consumer
from ticklake.group_consumer import GroupReader
from ticklake.settings import KafkaSettings


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    made = MagicMock()
    monkeypatch.setattr(group_consumer, "make_consumer", lambda *_, **__: made)
    return made


def reader(resume: dict[int, int | None]) -> GroupReader:
    return GroupReader(
        KafkaSettings(), topic="t", group="g", client="c", session_seconds=10, resume_at=lambda number: resume[number]
    )


def assign(to: GroupReader, *numbers: int) -> None:
    to.on_partitions_assigned([TopicPartition("t", number) for number in numbers])


def test_a_partition_that_stays_goes_on_and_a_new_one_waits(consumer: MagicMock) -> None:
    member = reader({0: 0, 1: 7, 2: None})
    assign(member, 0, 1, 2)
    positions = {call.args[0].partition: call.args[1] for call in consumer.seek.call_args_list}
    assert positions == {0: 0, 1: 7, 2: 0}
    # Nothing starts a partition again that stays, also where it stays at its very beginning.
    assert [call.args[0].partition for call in consumer.pause.call_args_list] == [2]
    member.start(2, 5)
    consumer.seek.assert_called_with(TopicPartition("t", 2), 5)
    consumer.resume.assert_called_once_with(TopicPartition("t", 2))


def test_while_reading_is_held_nothing_that_is_assigned_is_read(consumer: MagicMock) -> None:
    member = reader({0: 3, 1: None})
    member.hold(True, ())
    consumer.pause.reset_mock()
    assign(member, 0, 1)
    member.start(1, 5)
    assert [call.args[0].partition for call in consumer.pause.call_args_list] == [0, 1]
    consumer.resume.assert_not_called()
    member.hold(False, (0, 1))
    assert [call.args[0].partition for call in consumer.resume.call_args_list] == [0, 1]


def test_a_partition_that_was_taken_away_meanwhile_is_neither_started_nor_stopped(consumer: MagicMock) -> None:
    member = reader({0: 3, 1: 3})
    assign(member, 0, 1)
    # As the client library answers for a partition that it has no longer.
    consumer.seek.side_effect = ValueError("Unassigned partition")
    consumer.pause.side_effect = consumer.resume.side_effect = KeyError
    consumer.assignment.return_value = {TopicPartition("t", 1)}
    member.start(0, 5)
    member.pause(0)
    member.hold(True, [0])
    with pytest.raises(ValueError, match="Unassigned"):
        member.start(1, 5)
