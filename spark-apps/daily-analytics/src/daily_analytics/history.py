"""Which stored batches make up the history of a batch: few files, even after years of daily runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from ticklake.lineage import ObjectRef
from ticklake.manifests import DailyManifest, SessionSpan
from ticklake.records import Source

_NEAR = timedelta(days=14)
"""A history that ends at most this long before a batch is probably meant to be continued by it."""


@dataclass(frozen=True)
class History:
    """The stored objects to read, and what a person should know about those left out."""

    objects: tuple[ObjectRef, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows in all objects."""
        return sum(ref.rows for ref in self.objects)


def choose(
    manifests: Iterable[DailyManifest], *, batch_date: date, source: Source, fetched_at: datetime,
    spans: dict[str, SessionSpan],
) -> History:  # fmt: skip
    """The objects that extend each symbol of a batch backwards as far as stored batches reach.

    Only batches of the same source that were fetched earlier count, so that a run repeated later computes the same.
    Per symbol: of the batches that hold a session of what is covered so far, the one that starts earliest comes next,
    until none starts earlier (the greedy cover of an interval, which needs the fewest). A batch that ends before what
    is covered begins has no session in common with it, so its price basis cannot be compared: a split between the two
    would go unseen. It is left out, and a note says so.

    Args:
        batch_date: of the batch; its own date's manifest is what it replaces, hence no history.
        spans: the batch's sessions per symbol.
    """
    usable = [
        manifest for manifest in manifests
        if manifest.source == source and manifest.batch_date != batch_date and manifest.fetched_at < fetched_at
    ]  # fmt: skip
    objects: list[ObjectRef] = []
    left_out: list[str] = []
    for symbol, span in spans.items():
        mine = [(manifest.spans[symbol], manifest) for manifest in usable if symbol in manifest.spans]
        chosen, first = _cover(mine, span.first)
        for manifest in chosen:
            objects += [ref for ref in manifest.objects if ref.symbol == symbol]
        if any(first - _NEAR <= other.last < first for other, _ in mine):
            left_out.append(symbol)
    return History(tuple(objects), _notes(left_out))


def _cover(candidates: list[tuple[SessionSpan, DailyManifest]], first: date) -> tuple[list[DailyManifest], date]:
    chosen: list[DailyManifest] = []
    while True:
        overlapping = [item for item in candidates if item[0].first < first <= item[0].last]
        if not overlapping:
            return chosen, first
        # Of two that start alike, the one fetched later knows more.
        span, manifest = min(overlapping, key=lambda item: (item[0].first, -item[1].fetched_at.timestamp()))
        chosen.append(manifest)
        first = span.first


def _notes(left_out: list[str]) -> tuple[str, ...]:
    if not left_out:
        return ()
    shown = ", ".join(sorted(left_out)[:10]) + (f" and {len(left_out) - 10} more" if len(left_out) > 10 else "")
    return (
        f"{shown}: stored history ends just before this batch begins and is left out, because without a session in "
        "common a split between the two cannot be seen; fetch a longer period to join them",
    )
