"""A store in memory."""

from collections.abc import Iterable, Iterator

from ticklake.objects import ObjectInfo, ObjectStore


class MemoryStore(ObjectStore):
    """The same promises as S3, for thousands of runs."""

    def __init__(self, conditional: bool = True) -> None:
        self.bucket = "memory"
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.listings = 0
        self._conditional = conditional

    def put(self, key: str, body: bytes, *, metadata: dict[str, str] | None = None, content_type: str = "") -> None:
        self.objects[key] = (body, metadata or {})

    def put_if_absent(
        self, key: str, body: bytes, *, metadata: dict[str, str] | None = None, content_type: str = ""
    ) -> bool:
        if self._conditional and key in self.objects:
            return False
        self.put(key, body, metadata=metadata)
        return True

    def get(self, key: str) -> bytes:
        return self.objects[key][0]

    def metadata(self, key: str) -> dict[str, str] | None:
        return self.objects[key][1] if key in self.objects else None

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        self.listings += 1
        return iter([ObjectInfo(k, len(v[0])) for k, v in sorted(self.objects.items()) if k.startswith(prefix)])

    def folders(self, prefix: str) -> list[str]:
        below = (key[len(prefix) :].partition("/") for key in self.objects if key.startswith(prefix))
        return sorted({f"{prefix}{name}/" for name, slash, _ in below if slash})

    def delete_all(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            del self.objects[key]
