"""Put a file into the lake under a key that says when: store_backup.py FILE PREFIX."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from ticklake.objects import ObjectStore
from ticklake.program import guarded
from ticklake.settings import StoreSettings, load


def store(file: Path, prefix: str) -> None:
    """Write the file to `PREFIX/YYYYMMDDTHHMMSSZ.suffix` and read it back."""
    body = file.read_bytes()
    lake = ObjectStore(load(StoreSettings))
    key = f"{prefix}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}{file.suffix}"
    lake.put(key, body)
    if lake.get(key) != body:
        raise SystemExit(f"{key} does not read back as it was written")
    print(f"{key}: {len(body)} bytes")


if __name__ == "__main__":
    sys.exit(guarded("store-backup", lambda: store(Path(sys.argv[1]), sys.argv[2])))
