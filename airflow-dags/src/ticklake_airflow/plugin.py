"""Makes the timetable known to Airflow, which takes custom ones from plugins only."""

from airflow.plugins_manager import AirflowPlugin

from ticklake_airflow.timetable import SessionTimetable


class TicklakePlugin(AirflowPlugin):
    """Found by Airflow through the package's entry point."""

    name = "ticklake"
    timetables = [SessionTimetable]  # noqa: RUF012  (Airflow's own declaration)
