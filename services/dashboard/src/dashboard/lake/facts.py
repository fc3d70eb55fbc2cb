"""What was known of the symbols at any moment: the versions of their facts in the lake."""

import threading
import time
from collections.abc import Collection

from dashboard.lake.row_cache import RowCache
from dashboard.lake.store_guard import StoreGuard
from ticklake import history
from ticklake.catalog import LakeTables
from ticklake.errors import StageError
from ticklake.facts import Facts
from ticklake.records import Source
from ticklake.tables import FACT_TABLES, namespace_of

_Versions = tuple[int | None, ...]


class FactsLake:
    """The versions of every symbol's bars and corporate actions. Safe for use from several threads.

    Args:
        tables: asked by this object alone, one question at a time.
        refresh_seconds: least time between two looks for new versions.
        cache: holds them.
    """

    def __init__(self, tables: StoreGuard[LakeTables], refresh_seconds: float, cache: RowCache) -> None:
        self._tables, self._refresh_seconds, self._cache = tables, refresh_seconds, cache
        self._asking = threading.Lock()
        self._looked: dict[str, tuple[float, _Versions]] = {}

    def of(self, symbols: Collection[str], source: Source) -> dict[str, Facts]:
        """All versions of some symbols' facts from one source, by symbol; one without bars is left out.

        Raises:
            StageError: store or catalog does not answer, and what is held of one of the symbols is nothing.
        """
        with self._asking:
            failure, versions = self._look(namespace_of(source))
            found = {symbol: self._cache.get(("facts", symbol, source), versions) for symbol in symbols}
            missing = [symbol for symbol, facts in found.items() if facts is None]
            if missing:
                if failure is not None:
                    raise failure
                read = self._tables.call(lambda tables: history.read(tables, missing, source))
                for symbol, facts in read.items():
                    size = sum(int(part.memory_usage(deep=True).sum()) for part in (facts.bars, facts.actions))
                    self._cache.put(("facts", symbol, source), versions, facts, size)
                found |= read
        return {symbol: facts for symbol, facts in found.items() if facts is not None}

    def _look(self, namespace: str) -> tuple[StageError | None, _Versions]:
        """The tables' snapshots; where they cannot be seen the reason, with those seen last."""
        at, versions = self._looked.get(namespace, (float("-inf"), ()))
        if time.monotonic() - at < self._refresh_seconds:
            return None, versions
        try:
            versions = self._tables.call(
                lambda tables: tuple(tables.version(namespace, table) for table in FACT_TABLES)
            )
        except StageError as error:
            return error, versions
        self._looked[namespace] = (time.monotonic(), versions)
        return None, versions
