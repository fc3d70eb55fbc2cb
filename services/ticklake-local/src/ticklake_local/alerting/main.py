"""Entry point of check-rules."""

from collections.abc import Sequence
from typing import NoReturn

from ticklake.service import service_main
from ticklake_local.alerting.settings import CheckerSettings


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run until SIGTERM."""
    from ticklake_local.alerting.service import run

    service_main("check-rules", CheckerSettings, run, argv)


if __name__ == "__main__":
    main()
