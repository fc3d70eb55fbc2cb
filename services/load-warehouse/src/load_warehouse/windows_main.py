"""Entry point of load-windows: loads the closed streaming windows that are new, once, whenever it is wanted."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from load_warehouse.run import load_windows
from load_warehouse.settings import WindowsSettings
from ticklake import logs
from ticklake.settings import load
from ticklake.stage import Arguments, guarded

NAME = "load-windows"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Load and exit."""

    def work() -> None:
        Arguments(prog=NAME, description="Settings come from TICKLAKE_… variables.").parse_args(argv)
        settings = load(WindowsSettings)
        logs.configure(settings.log_level, settings.log_format, stage=NAME)
        load_windows(settings)

    sys.exit(guarded(NAME, work))


if __name__ == "__main__":
    main()
