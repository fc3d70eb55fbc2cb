"""Entry point of `rebuild-windows`."""

import argparse
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

from ticklake.pipeline import REBUILD_WINDOWS
from ticklake.program import Arguments, run_id, task_main
from ticklake.spark import start_jvm
from ticklake.spark_jvm import ONE_SHOT

if TYPE_CHECKING:
    from stream_analytics.rebuild import RebuildSettings


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Compute the windows of a span again and exit."""
    from stream_analytics.rebuild import RebuildSettings

    parser = Arguments(prog=REBUILD_WINDOWS.program, description="Further settings come from TICKLAKE_… variables.")
    parser.add_argument("--from", dest="first", type=_moment, required=True, help="first window start, e.g. …T14:30Z")
    parser.add_argument("--to", dest="after", type=_moment, required=True, help="window start to end before")
    parser.add_argument("--run-id", type=run_id, required=True, help="the run, for the snapshots' properties")
    task_main(REBUILD_WINDOWS.program, RebuildSettings, _body, parser, argv)


def _body(settings: "RebuildSettings", arguments: argparse.Namespace) -> dict[str, object]:
    start_jvm(REBUILD_WINDOWS.program, settings.spark, ONE_SHOT)
    from stream_analytics.rebuild import rebuild
    from ticklake.spark import build_session, close_session, translated_errors, with_catalog

    with translated_errors("start"):
        spark = build_session(REBUILD_WINDOWS.program, settings.spark, settings.store)
    try:
        session = with_catalog(spark, settings.catalog, settings.store)
        return rebuild(session, settings, arguments.run_id, arguments.first, arguments.after)
    finally:
        close_session(spark)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment like 2026-01-30T14:30Z") from None
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset from UTC: write {text}Z")
    return found


if __name__ == "__main__":
    main()
