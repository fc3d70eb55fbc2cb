"""Held symbols, from the runs' records and the decisions in the lake."""

from typing import Any

from dashboard.cached_answer import CachedAnswer
from dashboard.lake.store_guard import StoreGuard
from ticklake.held_symbols import HeldSymbols, Hold
from ticklake.objects import ObjectStore


class HeldView:
    """What is held. Safe for use from several threads.

    Args:
        refresh_seconds: least time between two looks.
    """

    def __init__(self, guard: StoreGuard[ObjectStore], refresh_seconds: float) -> None:
        self._symbols = HeldSymbols(guard.store)
        self._kept = CachedAnswer(
            refresh_seconds, lambda: guard.call(lambda _: [_item(hold) for hold in self._symbols.now()])
        )

    def read(self) -> list[dict[str, Any]]:
        """Items as `models_platform.HeldItem` has them.

        Raises:
            StageError: the store does not answer.
        """
        return self._kept.read()


def _item(hold: Hold) -> dict[str, Any]:
    return {
        "symbol": hold.symbol,
        "source": hold.source.value,
        "run_id": hold.run_id,
        "batch_date": hold.batch_date,
        "since_run_id": hold.since.run_id,
        "since_date": hold.since.batch_date,
        "runs": len(hold.earlier) + 1,
        "stage": hold.stage,
        "reasons": list(hold.reasons),
        "rows": hold.rows,
        "answer": hold.answer.key if hold.answer is not None else None,
        "released": hold.decision.description() if hold.decision is not None else None,
    }
