"""Entry point of `held-symbol`."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from pydantic import Field

from ticklake import held_symbols
from ticklake.objects import ObjectStore
from ticklake.pipeline import HELD_SYMBOL
from ticklake.program import Arguments, run_id, task_main
from ticklake.settings import StageSettings, StoreSettings


class HeldSettings(StageSettings):
    """All settings of this program."""

    store: StoreSettings = Field(default_factory=StoreSettings)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Keep a person's decision on a held symbol; the stages of a release are started by whoever calls this."""
    parser = Arguments(prog=HELD_SYMBOL.program, description="Further settings come from TICKLAKE_… variables.")
    parser.add_argument("action", choices=("release", "drop"), help="send the stored answer, or set it aside for good")
    parser.add_argument("symbol", type=str.upper, help="the ticker")
    parser.add_argument("--run", type=_run, help="the run that holds it (default: the newest)")
    parser.add_argument("--by", required=True, help="who decides")
    task_main(HELD_SYMBOL.program, HeldSettings, _decide, parser, argv)


def _run(text: str) -> str | None:
    return run_id(text) if text else None


def _decide(settings: HeldSettings, given: argparse.Namespace) -> dict[str, object]:
    found = held_symbols.decide(ObjectStore(settings.store), given.action, given.symbol, given.by, given.run)
    decision = found.decision
    return {
        "action": decision.action,
        "symbol": decision.symbol,
        "held_by": decision.run_id,
        "description": decision.description(),
        "batch_date": found.batch_date.isoformat(),
        "release_run_id": found.release_run_id,
        "done": found.done,
    }
