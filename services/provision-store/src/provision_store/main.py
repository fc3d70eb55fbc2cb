"""Entry point of `provision-store`."""

from collections.abc import Sequence
from typing import NoReturn

from provision_store.provision import provision
from provision_store.settings import ProvisionSettings
from ticklake.service import service_main


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Prepare the store once and exit."""
    service_main("provision-store", ProvisionSettings, provision, argv)
