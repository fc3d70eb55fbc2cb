"""What the archive's loop makes of the writer's results."""

from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from prometheus_client import CollectorRegistry

from archive_ticks import service
from archive_ticks.metrics import Metrics
from archive_ticks.range_writer import Placed
from archive_ticks.reader import Start
from archive_ticks.settings import ArchiveSettings
from archive_ticks.writer_thread import WriteResult

BEFORE, WINNER = (datetime(2026, 1, 30, hour, 59, tzinfo=UTC) for hour in (14, 15))
NONE: Any = None


@pytest.fixture
def archive() -> service.Archive:
    doors: Any = dict.fromkeys(("TopicIdentity", "Reader", "Writer", "GroupDescriber"), mock.DEFAULT)
    with mock.patch.multiple(service, **doors):
        made = service.Archive(ArchiveSettings(), NONE, Metrics(CollectorRegistry()))
    made._start_assignment(0, Start(5, 5, BEFORE))
    return made


def test_after_a_lost_race_reading_goes_on_in_the_chain(archive: service.Archive) -> None:
    archive._take([WriteResult(archive._assignments[0], NONE, Placed(9, WINNER, ours=False))])
    archive._reader.start.assert_called_with(0, 9)  # type: ignore[attr-defined]
    archive._reader.commit.assert_not_called()  # type: ignore[attr-defined]
    # It begins no chain: what is absent next belongs behind the winner's range.
    (gap,) = archive._assignments[0].builder.pass_over(12)
    assert (gap.first_offset, gap.last_offset, gap.first_time) == (9, 11, WINNER.timestamp() * 1000)
    assert not gap.starts_chain


def test_what_was_written_under_an_assignment_that_has_ended_says_nothing(archive: service.Archive) -> None:
    ended = archive._assignments[0]
    archive._start_assignment(0, Start(9, 9, WINNER))
    archive._take([WriteResult(ended, NONE, Placed(7, BEFORE, ours=ours)) for ours in (True, False)])
    assert archive._assignments[0].builder.next_offset == 9
    archive._reader.commit.assert_not_called()  # type: ignore[attr-defined]


def test_offsets_that_are_given_up_are_a_range_of_the_chain(archive: service.Archive) -> None:
    archive._start_assignment(0, Start(5, 8, BEFORE))
    assignment, (gap,) = archive._writer.submit.call_args.args  # type: ignore[attr-defined]
    assert assignment is archive._assignments[0]
    assert (gap.first_offset, gap.last_offset, gap.lost) == (5, 7, True)
    archive._reader.start.assert_called_with(0, 8)  # type: ignore[attr-defined]
