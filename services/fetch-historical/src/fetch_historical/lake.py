"""What the lake holds of the symbols already, from the manifests of processed batches."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from fetch_historical.answers import CURRENCY, STATUS
from fetch_historical.doubts import Known
from ticklake import manifests
from ticklake.manifests import DailyManifest
from ticklake.names import source_answer_key
from ticklake.objects import ObjectStore
from ticklake.records import Source, SymbolStatus

_AT_ONCE = 8


class KnownSymbols:
    """Looks into the lake when it is asked first, and no further back than each symbol's newest batch."""

    def __init__(self, store: ObjectStore, source: Source, symbols: Iterable[str]) -> None:
        self._store = store
        self._source = source
        self._symbols = frozenset(symbols)

    def of(self, symbol: str) -> Known | None:
        """What the newest batch with rows of `symbol` has of it; None where no batch of this source has any."""
        manifest = self._newest.get(symbol)
        if manifest is None:
            return None
        span = manifest.spans[symbol]
        answer = self._store.metadata(source_answer_key(manifest.run_id, symbol)) or {}
        # The rows of a symbol that the run held are an earlier run's.
        currency = answer.get(CURRENCY) if answer.get(STATUS) == SymbolStatus.OK else None
        return Known(span.first, span.last, currency)

    @cached_property
    def _newest(self) -> dict[str, DailyManifest]:
        keys = [info.key for info in manifests.list_daily(self._store)][::-1]
        found: dict[str, DailyManifest] = {}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for start in range(0, len(keys), _AT_ONCE):
                for body in pool.map(self._store.get, keys[start : start + _AT_ONCE]):
                    manifest = DailyManifest.model_validate_json(body)
                    if manifest.source is self._source:
                        found = dict.fromkeys(self._symbols & manifest.spans.keys(), manifest) | found
                if found.keys() == self._symbols:
                    break
        return found
