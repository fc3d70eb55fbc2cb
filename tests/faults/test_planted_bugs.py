"""Mistakes that people make, each planted in a copy of a package: the unit test that is named beside it has to fail."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from forked_pytest import Ended, run_pytest

ROOT = Path(__file__).parents[2]


class Bug(NamedTuple):
    """A mistake, and the test that finds it."""

    what: str
    file: str
    old: str
    """There exactly once."""
    new: str
    test: str
    """Node id below `tests/unit`."""


_ARCHIVE = "services/archive-ticks/src/archive_ticks"
_ALERTS = "services/market-alerts/src/market_alerts"
_STREAM = "spark-apps/stream-analytics/src/stream_analytics"
_TICKS = "services/stream-ticks/src/stream_ticks"
_LIBRARY = "services/ticklake/src/ticklake"
_CONSUME = "services/consume-historical/src/consume_historical"
_FETCH = "services/fetch-historical/src/fetch_historical"
_LOAD = "services/load-warehouse/src/load_warehouse"
_PAGE = "services/dashboard/src/dashboard"
_MAINTENANCE = "services/lake-maintenance/src/lake_maintenance"

BUGS = (
    Bug(
        "an object is written without If-None-Match",
        f"{_LIBRARY}/objects.py",
        ', IfNoneMatch="*")',
        ")",
        "ticklake/test_objects.py::test_the_store_itself_decides_which_of_several_writers_is_first",
    ),
    Bug(
        "a chain's start is written over the one that is there",
        f"{_LIBRARY}/ledger.py",
        "if store.put_if_absent(key, start.model_dump_json().encode()):\n        return start",
        "if store.put(key, start.model_dump_json().encode()) is None:\n        return start",
        "archive-ticks/test_offset_arithmetic.py::test_of_two_that_begin_a_chain_at_different_offsets_one_does",
    ),
    Bug(
        "the search for a chain's end stops at the first hour that has the partition",
        f"{_LIBRARY}/ledger.py",
        "if not open_ and settled:",
        "if not open_:",
        "archive-ticks/test_offset_arithmetic.py::test_a_clock_that_went_back_over_the_hour_hides_no_end",
    ),
    Bug(
        "an overlap of one offset is no overlap",
        f"{_LIBRARY}/ledger.py",
        "if after.first_offset <= before.last_offset:",
        "if after.first_offset < before.last_offset:",
        "ticklake/test_ledger.py::test_gaps_and_overlaps_are_named",
    ),
    Bug(
        "a single absent offset is no gap",
        f"{_LIBRARY}/ledger_table.py",
        "np.flatnonzero(np.diff(ordered) > 1)",
        "np.flatnonzero(np.diff(ordered) > 2)",
        "archive-ticks/test_offset_arithmetic.py::test_a_file_whose_absent_offsets_are_others_is_rejected",
    ),
    Bug(
        "a range ends an hour after it began and not with the hour",
        f"{_ARCHIVE}/offset_ranges.py",
        "self.open.first_time // _HOUR_MS != run[0].timestamp // _HOUR_MS",
        "run[0].timestamp - self.open.first_time >= _HOUR_MS",
        "archive-ticks/test_offset_arithmetic.py::test_a_range_ends_with_the_hour_of_the_brokers_clock",
    ),
    Bug(
        "a lost race is taken for won",
        f"{_ARCHIVE}/range_writer.py",
        "if start != own:\n            return Placed(start.first_offset, start.first_append_time, ours=False)",
        "if start != own:\n            return Placed(entry.last_offset + 1, entry.last_append_time, ours=True)",
        "archive-ticks/test_offset_arithmetic.py::test_of_two_that_begin_a_chain_at_different_offsets_one_does",
    ),
    Bug(
        "after a lost race the own range's end counts",
        f"{_ARCHIVE}/range_writer.py",
        "return Placed(winner.last_offset + 1, winner.last_append_time, ours)",
        "return Placed(entry.last_offset + 1, entry.last_append_time, ours)",
        "archive-ticks/test_offset_arithmetic.py::test_a_chain_whose_first_range_was_not_written_goes_on_at_its_start",
    ),
    Bug(
        "a write that failed is dropped",
        f"{_ARCHIVE}/writer_thread.py",
        "                self._given_up.wait(delay)\n",
        "                return placed\n",
        "archive-ticks/test_parsing.py::test_a_failing_store_is_tried_again_in_order_and_quarantine_is_kept_once",
    ),
    Bug(
        "a retry of a write repeats the quarantine",
        f"{_ARCHIVE}/writer_thread.py",
        "                    quarantined = True\n",
        "",
        "archive-ticks/test_parsing.py::test_a_failing_store_is_tried_again_in_order_and_quarantine_is_kept_once",
    ),
    Bug(
        "one accepted gap accepts those of all partitions",
        f"{_ARCHIVE}/reader.py",
        "gap not in accepted_gaps",
        "not accepted_gaps",
        "archive-ticks/test_offset_arithmetic.py::"
        "test_a_partition_that_lost_what_was_not_archived_waits_for_a_person_and_no_other_does",
    ),
    Bug(
        "a chain that was only claimed begins where the log begins by now",
        f"{_ARCHIVE}/reader.py",
        "return (None, None) if start is None else (start.first_offset, start.first_append_time)",
        "return (None, None)",
        "archive-ticks/test_offset_arithmetic.py::test_a_chain_whose_first_range_was_not_written_goes_on_at_its_start",
    ),
    Bug(
        "an append time that was found for later offsets is used for earlier ones",
        f"{_ARCHIVE}/append_times.py",
        "not known.begin <= offset <= known.end",
        "offset > known.end",
        "archive-ticks/test_append_times.py::test_what_was_found_for_a_later_message_is_not_an_earlier_ones",
    ),
    Bug(
        "a partition that the broker assigned and nobody reads is no fault",
        f"{_ARCHIVE}/group_membership.py",
        "if reads != group.owned[member]:",
        "if not reads <= group.owned[member]:",
        "archive-ticks/test_group_membership.py::test_what_stays_wrong_for_five_seconds_is_a_fault",
    ),
    Bug(
        "offsets that a person gave up are not recorded",
        f"{_ARCHIVE}/service.py",
        "self._writer.submit(assignment, builder.pass_over(start.begin, lost=True))",
        "builder.pass_over(start.begin, lost=True)",
        "archive-ticks/test_service.py::test_offsets_that_are_given_up_are_a_range_of_the_chain",
    ),
    Bug(
        "after a lost race the time of the message before is forgotten",
        f"{_ARCHIVE}/service.py",
        "Start(place, place, done.placed.last_append_time)",
        "Start(place, place)",
        "archive-ticks/test_service.py::test_after_a_lost_race_reading_goes_on_in_the_chain",
    ),
    Bug(
        "the commit comes before the state is saved",
        f"{_ALERTS}/service.py",
        "            producer.confirm()\n            for partition in moved:\n                partition.mark_published",
        "            for partition in moved:\n                partition.mark_published",
        "market-alerts/test_saving.py::test_the_commit_comes_after_the_state_and_that_after_the_alerts",
    ),
    Bug(
        "an alert that is on the topic is published again",
        f"{_ALERTS}/publisher.py",
        "if not self._is_suppressed(each) and self._is_new(partition, each)]",
        "if not self._is_suppressed(each)]",
        "market-alerts/test_saving.py::test_an_alert_on_the_topic_is_not_published_again",
    ),
    Bug(
        "an alert is committed before it is delivered",
        f"{_ALERTS}/notifier.py",
        "            item.attempts += 1\n",
        "            item.attempts += 1\n            self._commit(consumer, item.place, item.offset + 1)\n",
        "market-alerts/test_notifier.py::test_what_is_not_delivered_at_the_stop_is_left_for_the_next_start",
    ),
    Bug(
        "an alert whose delivery failed goes to the end of the queue",
        f"{_ALERTS}/notifier.py",
        "self._schedule_retry(item, error)",
        "self._schedule_retry(item, error) or self._queue.rotate(-1)",
        "market-alerts/test_notifier.py::test_an_alert_is_committed_once_it_is_delivered_or_rejected",
    ),
    Bug(
        "a tick that is in the saved state counts again",
        f"{_ALERTS}/evaluation.py",
        "if offset < series.next_offsets.get(self.number, 0):",
        "if offset + 1 < series.next_offsets.get(self.number, 0):",
        "market-alerts/test_evaluation.py::test_evaluated_again_from_an_older_state_the_same_alerts_come_out",
    ),
    Bug(
        "published alerts are forgotten before all are evaluated again",
        f"{_ALERTS}/evaluation.py",
        "        if self.caught_up:\n            self.published, self._new_keys",
        "        if True:\n            self.published, self._new_keys",
        "market-alerts/test_evaluation.py::test_alerts_are_looked_for_from_the_old_place_until_the_catching_up_is_done",
    ),
    Bug(
        "a late tick turns the price back",
        f"{_ALERTS}/history.py",
        "in_order = newest is None or event_ms >= newest",
        "in_order = newest is None or event_ms >= newest - self._lateness_ms",
        "market-alerts/test_series.py::test_a_late_tick_counts_but_says_nothing_of_now",
    ),
    Bug(
        "a checkpoint is made before its record",
        f"{_STREAM}/checkpoint_records.py",
        "    records.write(opened, record)\n    if query_id is None:\n        checkpoint.create(opened)\n",
        "    if query_id is None:\n        checkpoint.create(opened)\n    records.write(opened, record)\n",
        "stream-analytics/test_final_windows.py::test_a_crash_leaves_no_checkpoint_without_its_record",
    ),
    Bug(
        "windows are final that ticks from the future are missing in",
        f"{_STREAM}/final_windows.py",
        "_append_time(min(records, key=_append_time)) + timedelta(seconds=tolerance)",
        "_append_time(min(records, key=_append_time))",
        "stream-analytics/test_final_windows.py::"
        "test_what_is_missing_can_be_as_late_as_the_first_tick_behind_it_and_the_tolerance",
    ),
    Bug(
        "the file that is listed last says how far windows are written",
        f"{_STREAM}/windows_table.py",
        "max(newest, found.get((namespace, length), newest))",
        "newest",
        "stream-analytics/test_final_windows.py::test_windows_are_written_up_to_the_newest_in_any_file",
    ),
    Bug(
        "open and close are by arrival",
        f"{_STREAM}/partial_aggregates.py",
        '        .sort_by([(name, "ascending") for name in _ORDER])\n',
        "",
        "stream-analytics/test_partial_aggregates.py::"
        "test_first_and_last_are_by_event_time_and_sequence_and_not_by_arrival",
    ),
    Bug(
        "the sequence begins anew with each batch of rounds",
        f"{_TICKS}/simulator.py",
        '"sequence":{rounds.first + number}',
        '"sequence":{number}',
        "stream-ticks/test_simulated_source.py::test_a_live_flow_stays_with_the_wall_clock_when_it_is_set",
    ),
    Bug(
        "a flow with a set end follows the wall clock",
        f"{_TICKS}/simulated_source.py",
        "options.speed_up == 1 and total is None",
        "options.speed_up == 1",
        "stream-ticks/test_simulated_source.py::test_a_flow_with_a_set_end_has_the_same_times_whatever_the_clock_does",
    ),
    Bug(
        "a tick that is not accepted is counted as an error and left out",
        f"{_TICKS}/sender.py",
        "            self.metrics.send_errors.inc()\n            raise\n",
        "            self.metrics.send_errors.inc()\n",
        "stream-ticks/test_sender.py::test_a_tick_that_is_not_accepted_is_an_error_and_is_not_counted",
    ),
    Bug(
        "a batch's own versions count as known before it",
        f"{_LIBRARY}/facts.py",
        '(versions["known_at"] < at) |',
        '(versions["known_at"] <= at) |',
        "ticklake/test_facts.py::test_a_retry_finds_the_same_changes_and_nothing_left_to_append",
    ),
    Bug(
        "a split adjusts the session of its own ex-date",
        f"{_LIBRARY}/adjustment.py",
        'products[np.searchsorted(actions.split_days, days, side="right")]',
        'products[np.searchsorted(actions.split_days, days, side="left")]',
        "ticklake/test_facts.py::test_what_a_source_adjusted_for_splits_comes_back_as_traded",
    ),
    Bug(
        "a version does not count at the moment that it was known",
        f"{_LIBRARY}/history.py",
        'part[part["known_at"] <= pd.Timestamp(as_of)]',
        'part[part["known_at"] < pd.Timestamp(as_of)]',
        "ticklake/test_history.py::test_a_version_counts_from_the_moment_that_it_was_known",
    ),
    Bug(
        "volatility is that of a whole population",
        f"{_LIBRARY}/indicators.py",
        "ddof=1",
        "ddof=0",
        "ticklake/test_history.py::test_indicators_as_of_a_moment_are_talibs_on_that_history",
    ),
    Bug(
        "a tick at the very bound of the future is left out",
        f"{_LIBRARY}/ticks.py",
        "tick.event_ms > append_ms + future_tolerance * 1000",
        "tick.event_ms >= append_ms + future_tolerance * 1000",
        "ticklake/test_ticks.py::test_a_valid_tick_reads_back",
    ),
    Bug(
        "at its close a session has not closed yet",
        f"{_LIBRARY}/calendar.py",
        "while session_close(code, session) > now:",
        "while session_close(code, session) >= now:",
        "ticklake/test_quality_and_calendar.py::test_a_session_counts_once_it_has_closed",
    ),
    Bug(
        "a decision holds for whatever answer came since",
        f"{_LIBRARY}/held_symbols.py",
        "if decision is not None and decision.answer != hold.answer:",
        "if decision is not None and decision.answer is None:",
        "ticklake/test_held_symbols.py::test_a_decision_is_for_the_answer_that_there_was",
    ),
    Bug(
        "a partition that stays at offset 0 is never read again",
        f"{_LIBRARY}/group_consumer.py",
        "if resume is None or self._held:",
        "if not resume or self._held:",
        "ticklake/test_group_consumer.py::test_a_partition_that_stays_goes_on_and_a_new_one_waits",
    ),
    Bug(
        "the close of a session that still trades is a bar",
        f"{_FETCH}/bar_cleaning.py",
        "frozenset(days) - (frozenset(sessions) - frozenset(closed))",
        "frozenset(days)",
        "fetch-historical/test_bar_cleaning.py::test_a_session_that_has_not_closed_and_days_outside_the_period_are_left_out",
    ),
    Bug(
        "bars are compared with their trailer by number alone",
        f"{_CONSUME}/batch_assembly.py",
        "if checksum != trailer.checksum:",
        "if len(rows) != trailer.row_count:",
        "consume-historical/test_batch_assembly.py::test_one_bar_too_many_a_wrong_checksum_a_wrong_order",
    ),
    Bug(
        "rows of other batches are taken too",
        f"{_CONSUME}/batch_assembly.py",
        "            self.foreign += 1\n            return\n",
        "            self.foreign += 1\n",
        "consume-historical/test_batch_assembly.py::test_the_messages_of_other_batches_do_not_count",
    ),
    Bug(
        "a value that was null is never replaced",
        f"{_LOAD}/merge.py",
        'f"T.{name} IS DISTINCT FROM S.{name}"',
        'f"T.{name} <> S.{name}"',
        "load-warehouse/test_schema_and_merge.py::test_only_what_differs_is_replaced",
    ),
    Bug(
        "as many rows are taken for the same rows",
        f"{_LOAD}/comparison.py",
        "elif recorded.checksum != checksum:",
        "elif recorded.rows != rows:",
        "load-warehouse/test_comparison.py::test_rows_of_another_checksum_are_a_fault_though_they_are_as_many",
    ),
    Bug(
        "a late tick of yesterday begins the trading day anew",
        f"{_PAGE}/live/prices.py",
        "if day > self.day:",
        "if day != self.day:",
        "dashboard/test_live_state.py::test_a_new_trading_day_begins_anew_and_a_late_tick_of_yesterday_is_not_in_it",
    ),
    Bug(
        "ticks of two producer runs are taken for repetitions",
        f"{_PAGE}/live/prices.py",
        "(tick.producer_run, tick.sequence)",
        '("", tick.sequence)',
        "dashboard/test_live_state.py::test_a_tick_that_is_sent_twice_counts_once",
    ),
    Bug(
        "an object goes on the last day that it is to be kept",
        f"{_MAINTENANCE}/retention.py",
        "_day(item) < before",
        "_day(item) <= before",
        "lake-maintenance/test_retention_rules.py::test_what_is_as_old_as_the_days_that_it_is_kept_stays",
    ),
    Bug(
        "the end of a chain goes with its age",
        f"{_MAINTENANCE}/retention.py",
        "        elif found.first_offset == last:\n            waiting += [item] if old else []\n",
        "        elif found.first_offset == last:\n            yield from [item] if old else []\n",
        "lake-maintenance/test_retention_rules.py::test_the_newest_range_of_each_chain_and_its_copy_stay",
    ),
)


def run(folder: Path, texts: dict[str, str], tests: Iterable[str]) -> Ended:
    """Run unit tests on copies of the packages that files belong to, with other texts in these files' places."""
    copies: dict[str, str] = {}
    marks: list[Path] = []
    for number, (file, text) in enumerate(texts.items()):
        package, _, inside = file.partition("/src/")
        if package not in copies:
            copies[package] = shutil.copytree(ROOT / package / "src", str(folder / package))
        # Only an import of this very file leaves the mark: that of another would show nothing of the text.
        marks.append(folder / f"imported-{number}")
        Path(copies[package], inside).write_text(f"{text}\n__import__('pathlib').Path({str(marks[-1])!r}).touch()\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # Neither plugins nor the suite's conftest.py, with its servers, are of use here, and importing them takes long.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = ["-q", "-x", "--noconftest", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    arguments = [*options, *(f"tests/unit/{test}" for test in tests)]
    done = run_pytest(arguments, ROOT, list(copies.values()), environment)
    assert all(mark.exists() for mark in marks), f"a copy was not imported\n{done.output}"
    return done


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.what)
def test_the_named_test_finds_it(bug: Bug, tmp_path: Path) -> None:
    text = (ROOT / bug.file).read_text()
    assert text.count(bug.old) == 1, f"{bug.file} has changed"
    done = run(tmp_path, {bug.file: text.replace(bug.old, bug.new)}, [bug.test])
    summary = [line for line in done.output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    assert done.returncode == 1, done.output
    assert len(summary) == 1, done.output
    assert summary[0].startswith(f"FAILED tests/unit/{bug.test}"), done.output
    print(f"{bug.what}: {summary[0]}")


def test_unchanged_copies_pass(tmp_path: Path) -> None:
    texts = {bug.file: (ROOT / bug.file).read_text() for bug in BUGS}
    done = run(tmp_path, texts, dict.fromkeys(bug.test for bug in BUGS))
    assert done.returncode == 0, done.output
