"""`clean-metadata`: removes Airflow's records of old runs.

Airflow keeps the address of its database from the tasks that it runs, so this is a program of its own, which gets the
address for itself: as a pod from a secret, as a local process from `TICKLAKE_METADATA_CONNECTION`.
"""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import NoReturn

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from ticklake.pipeline import CLEAN_METADATA
from ticklake.program import Arguments, guarded, iso_date
from ticklake.settings import load, settings_config

_CONNECTION = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


class MetadataSettings(BaseSettings):
    """Where Airflow's database is (`TICKLAKE_METADATA_…`)."""

    model_config = settings_config("TICKLAKE_METADATA_")

    connection: SecretStr | None = None
    """SQLAlchemy's address; unset means Airflow's own setting."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Remove records older than `--days` before `--date`; replaces this process by Airflow's own command."""
    sys.exit(guarded(CLEAN_METADATA.program, lambda: _clean(argv)))


def _clean(argv: Sequence[str] | None) -> None:
    parser = Arguments(prog=CLEAN_METADATA.program, description="The database's address comes from the environment.")
    parser.add_argument("--date", type=iso_date, required=True, help="the day to count back from, YYYY-MM-DD")
    parser.add_argument("--days", type=int, required=True, help="how many days of records stay")
    arguments = parser.parse_args(argv)
    if arguments.days < 1:
        parser.error(f"--days {arguments.days}: at least 1")
    settings = load(MetadataSettings)
    if settings.connection:
        os.environ[_CONNECTION] = settings.connection.get_secret_value()
    before = datetime.combine(arguments.date, time.min, UTC) - timedelta(days=arguments.days)
    command = [
        sys.executable,
        "-m",
        "airflow",
        "db",
        "clean",
        "--clean-before-timestamp",
        before.isoformat(),
        "--skip-archive",
        "--yes",
    ]
    os.execv(sys.executable, command)  # noqa: S606
