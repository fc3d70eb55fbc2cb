"""`make bench`: speed against the old design and against other clients, as ratios within one run."""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from tests.bench.analytics import compare_analytics
from tests.bench.hostile import compare_hostile
from tests.bench.streaming import compare_streaming
from tests.bench.throughput import compare_clients
from tests.bench.whole import Whole, compare

from ticklake_local import platform
from ticklake_local.data_folder import DataFolder
from ticklake_local.environment import cache_folder, java_home


def main() -> None:
    """Start a platform of its own and run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--only", choices=("whole", "analytics", "streaming", "clients", "hostile"), help="run one part"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison (default 3)")
    parser.add_argument("--symbols", type=int, default=200, help="of the comparison with Polars (default 200)")
    parser.add_argument("--rates", type=int, nargs="+", default=[2000, 10_000], help="ticks per second of the windows")
    parser.add_argument("--messages", type=int, default=1_000_000, help="of the comparison with hostile ones")
    arguments = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="ticklake-bench-") as work:
        here = platform.prepare(
            DataFolder.at(Path(work) / "data"), platform.prepare_tools(cache_folder(), java_home(), console.print)
        )
        with platform.started(here, console.print):
            if arguments.only in (None, "whole"):
                compare(Whole(here, Path(work)), arguments.rounds, console)
            if arguments.only in (None, "analytics"):
                compare_analytics(here, Path(work), arguments.rounds, arguments.symbols, console)
            if arguments.only in (None, "streaming"):
                compare_streaming(here, arguments.rates, console)
            if arguments.only in (None, "clients"):
                compare_clients(here, arguments.rounds, console)
            if arguments.only in (None, "hostile"):
                compare_hostile(here, arguments.messages, arguments.rounds, console)


if __name__ == "__main__":
    main()
