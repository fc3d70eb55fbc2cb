"""What the local platform takes from the environment: where to keep what it fetches, and which Java to use."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`TICKLAKE_CACHE`, else `ticklake` in the user's cache folder (XDG); shared by all runs and checkouts."""
    if chosen := os.environ.get("TICKLAKE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ticklake"


def java_home() -> Path | None:
    """The Java that the user chose for the platform (`TICKLAKE_JAVA_HOME`)."""
    chosen = os.environ.get("TICKLAKE_JAVA_HOME")
    return Path(chosen) if chosen else None
