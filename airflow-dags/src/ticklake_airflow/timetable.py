"""When the batch is due: some minutes after each close of an exchange, on its sessions only."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable

from ticklake import calendar
from ticklake.errors import ConfigurationError

_LOOK_AHEAD = timedelta(days=30)
"""No exchange has been closed for longer in a time that calendars still plan for."""


class SessionTimetable(Timetable):
    """One run per session of an exchange, due `delay_minutes` after its close.

    The data interval begins at midnight UTC of the session's date and ends with its close, so that a run's `ds` is the
    session's date on every exchange. A scheduler that was down runs the latest session when it is back, and none
    before it; with catchup, or in a backfill, each one.
    """

    def __init__(self, calendar_code: str = "XNYS", delay_minutes: int = 30) -> None:
        self.calendar_code, self.delay_minutes = calendar_code, delay_minutes
        self.description = f"{delay_minutes} minutes after each close of {calendar_code}"

    @property
    def summary(self) -> str:
        """What Airflow shows in its list."""
        return f"{self.calendar_code} close + {self.delay_minutes} min"

    def serialize(self) -> dict[str, Any]:
        """What `deserialize` takes."""
        return {"calendar_code": self.calendar_code, "delay_minutes": self.delay_minutes}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """The timetable from what `serialize` gave."""
        return cls(**data)

    def infer_manual_data_interval(self, *, run_after: pendulum.DateTime) -> DataInterval:
        """The moment itself: a run by hand works for the date that it is given."""
        return DataInterval.exact(run_after)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The run after the last one, None where there is to be none."""
        first: list[date] = []
        if last_automated_data_interval is not None:
            first.append(last_automated_data_interval.start.date() + timedelta(days=1))
        if restriction.earliest is not None:
            first.append(_day_at_or_after(restriction.earliest))
        if not restriction.catchup:
            first.append(self._latest_due(datetime.now(UTC)))
        if not first:
            return None
        session = self._session_from(max(first))
        if restriction.latest is not None and _midnight(session) > restriction.latest:
            return None
        return self.run_of(session)

    def run_of(self, session: date) -> DagRunInfo:
        """The run of one session."""
        close = pendulum.instance(calendar.session_close(self.calendar_code, session))
        return DagRunInfo(
            run_after=close.add(minutes=self.delay_minutes),
            data_interval=DataInterval(start=_midnight(session), end=close),
            partition_key=None,
            partition_date=None,
        )

    def _session_from(self, day: date) -> date:
        last = min(day + _LOOK_AHEAD, calendar.reach(self.calendar_code)[1])
        found = calendar.sessions(self.calendar_code, day, last)
        if not found:
            raise ConfigurationError(f"the calendar {self.calendar_code} has no session after {day}")
        return found[0]

    def _latest_due(self, now: datetime) -> date:
        return calendar.last_closed_session(self.calendar_code, now - timedelta(minutes=self.delay_minutes))


def _midnight(day: date) -> pendulum.DateTime:
    return pendulum.instance(datetime.combine(day, time.min, UTC))


def _day_at_or_after(moment: datetime) -> date:
    day = moment.astimezone(UTC).date()
    return day if _midnight(day) == moment else day + timedelta(days=1)
