"""archive-ticks whose writes wait while the file HOLD_FILE exists; on request, without the ledger's conditional write.

The first makes a process that sleeps in the middle of a write; the second shows that the tests see the difference.
"""

import os
import sys
import time
from pathlib import Path

from archive_ticks.service import Archive
from archive_ticks.settings import ArchiveSettings
from ticklake.objects import ObjectStore
from ticklake.service import service_main


class Held(ObjectStore):
    def put_if_absent(
        self, key: str, body: bytes, *, metadata: dict[str, str] | None = None, content_type: str = ""
    ) -> bool:
        if (name := os.environ.get("HOLD_FILE")) and (hold := Path(name)).exists():
            print("held", flush=True)
            while hold.exists():
                time.sleep(0.02)
        if "unconditional" in sys.argv:
            self.put(key, body, metadata=metadata, content_type=content_type)
            return True
        return super().put_if_absent(key, body, metadata=metadata, content_type=content_type)


if __name__ == "__main__":
    service_main(
        "archive-ticks",
        ArchiveSettings,
        lambda settings, stop: Archive(settings, Held(settings.store)).run(stop),
        [],
    )
