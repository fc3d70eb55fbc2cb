"""archive-ticks with the ledger's conditional write switched off, to show that the fault tests see the difference."""

from archive_ticks.service import Archive
from archive_ticks.settings import ArchiveSettings
from ticklake.objects import ObjectStore
from ticklake.stage import service_main


class Unconditional(ObjectStore):
    def put_if_absent(
        self, key: str, body: bytes, *, metadata: dict[str, str] | None = None, content_type: str = ""
    ) -> bool:
        self.put(key, body, metadata=metadata, content_type=content_type)
        return True


if __name__ == "__main__":
    service_main(
        "archive-ticks",
        ArchiveSettings,
        lambda settings, stop: Archive(settings, Unconditional(settings.store)).run(stop),
    )
