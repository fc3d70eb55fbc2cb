"""The page's files: small, few, and held in memory with their hashes."""

import gzip
import hashlib
import importlib.util
import mimetypes
import threading
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ticklake.errors import ConfigurationError

FOLDER = Path(__file__).parent / "static"
CHART_LIBRARY = "lightweight_charts"
_CHART_FILE = "vendor/lightweight-charts.js"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
_TEXT = ("text/", "application/json", "image/svg+xml", "application/manifest+json")
_LEAST_TO_COMPRESS = 500


@dataclass(frozen=True)
class _File:
    stamp: tuple[int, int]
    """Time of change and size: a file that was edited is read again."""
    etag: str
    media_type: str
    body: bytes
    compressed: bytes | None


class StaticFiles:
    """The files below `folder`, and the chart library's out of its package.

    Raises:
        ConfigurationError: the chart library is not installed.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder.resolve()
        found = importlib.util.find_spec(CHART_LIBRARY)  # not imported: its Python part needs a desktop
        if found is None or found.origin is None:
            raise ConfigurationError("the package lightweight-charts is not installed: install the dashboard again")
        self._vendor = {_CHART_FILE: Path(found.origin).parent / "js" / "lightweight-charts.js"}
        self._lock = threading.Lock()
        self._held: dict[Path, _File] = {}

    def answer(self, name: str, request: Request) -> Response:
        """The file `name` (a path below the folder), or 304 where the browser has it.

        Raises:
            HTTPException: 404, there is none.
        """
        file = self._file(self._path(name))
        # Nothing in a file's name changes with its content, so the browser asks each time and mostly gets a 304.
        headers = {"etag": file.etag, "cache-control": "no-cache"}
        wanted = request.headers.get("if-none-match", "")
        if wanted == "*" or file.etag in [tag.strip().removeprefix("W/") for tag in wanted.split(",")]:
            return Response(status_code=304, headers=headers)
        if file.compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            return Response(file.compressed, media_type=file.media_type, headers=headers)
        return Response(file.body, media_type=file.media_type, headers=headers)

    def _path(self, name: str) -> Path:
        if name in self._vendor:
            return self._vendor[name]
        try:
            path = (self._folder / name).resolve()
            if path.is_relative_to(self._folder) and path.is_file():
                return path
        except (OSError, ValueError):
            pass  # a name that no file can have
        raise HTTPException(404, "there is no such file")

    def _file(self, path: Path) -> _File:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        with self._lock:
            held = self._held.get(path)
        if held is not None and held.stamp == stamp:
            return held
        body = path.read_bytes()
        media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        text = media_type.startswith(_TEXT)
        compressed = gzip.compress(body, 9, mtime=0) if text and len(body) >= _LEAST_TO_COMPRESS else None
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        charset = "; charset=utf-8" if text and media_type != "image/svg+xml" else ""
        file = _File(stamp, etag, media_type + charset, body, compressed)
        with self._lock:
            self._held[path] = file
        return file
