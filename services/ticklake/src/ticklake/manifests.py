"""Manifests: which files make up a dataset. Readers follow them and never take what merely lies in a folder."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ticklake import names
from ticklake.lineage import ObjectRef
from ticklake.objects import ObjectInfo, ObjectStore


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    objects: tuple[ObjectRef, ...]


class WindowManifest(_Manifest):
    """Files that one micro-batch of a streaming query wrote below `processed/realtime/`."""

    query: str
    """`15m` or `1h`."""
    batch: int = Field(ge=0)
    """Spark's batch id; a repeated micro-batch replaces its files and this manifest."""


def _window_folder(live: names.LiveNames) -> str:
    return f"{live.processed_prefix}/_manifests/"


def write_windows(store: ObjectStore, live: names.LiveNames, manifest: WindowManifest) -> None:
    """Make the files of one micro-batch visible to readers."""
    key = f"{_window_folder(live)}query={manifest.query}/{manifest.batch:012d}.json"
    store.put(key, manifest.model_dump_json(indent=1).encode())


def all_windows(store: ObjectStore, live: names.LiveNames) -> Iterator[WindowManifest]:
    """Manifests of every finished micro-batch of a live flow, by query and batch."""
    for found in list_windows(store, live):
        yield read_windows(store, found.key)


def list_windows(
    store: ObjectStore, live: names.LiveNames, query: str | None = None, after: str = ""
) -> Iterator[ObjectInfo]:
    """Where the manifests of a live flow's finished micro-batches are, by query and batch, without reading them.

    Args:
        query: of this query (`15m` or `1h`) only.
        after: only keys behind this one in order.
    """
    folder = _window_folder(live) + (f"query={query}/" if query else "")
    return store.list_objects(folder, after=after)


def read_windows(store: ObjectStore, key: str) -> WindowManifest:
    """One manifest that `list_windows` found."""
    return WindowManifest.model_validate_json(store.get(key))
