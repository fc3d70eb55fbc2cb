"""Entry point of check-rules."""

from collections.abc import Sequence
from typing import NoReturn

from onebox.alerting.settings import CheckerSettings
from ticklake.batch_stage import service_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run until SIGTERM."""
    from onebox.alerting.service import run

    service_main("check-rules", CheckerSettings, run, argv)


if __name__ == "__main__":
    main()
