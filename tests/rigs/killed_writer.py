"""One write to a table, by a process that is killed at a chosen point of it."""

import itertools
import os
import signal
from functools import partial
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session
from table_rows import appending, replacing

from ticklake.catalog import LakeTables, StoreFileIO
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import DAILY_BARS

WRITES = {"append": appending, "replace": replacing, "careless append": partial(appending, looks=False)}


def write_and_die(name: str, number: int, point: int, catalog: CatalogSettings, store: StoreSettings) -> None:
    """Do the write and be killed at its `point`-th: before a file, within it, before a transaction, after it."""
    points = itertools.count(1)

    def reached(*_: Any) -> None:
        if next(points) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    new_output = StoreFileIO.new_output

    def output(self: StoreFileIO, location: str) -> Any:
        reached()
        file = new_output(self, location)
        create = file.create

        def created(*arguments: Any, **options: Any) -> Any:
            stream = create(*arguments, **options)
            reached()
            return stream

        file.create = created  # type: ignore[method-assign]
        return file

    StoreFileIO.new_output = output  # type: ignore[method-assign]
    event.listen(Session, "before_commit", reached)
    event.listen(Session, "after_commit", reached)
    WRITES[name](LakeTables(catalog, store), DAILY_BARS)(number)
