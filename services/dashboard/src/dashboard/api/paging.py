"""Opaque cursors: where the next page begins."""

import base64
import binascii
import json
from datetime import date

from starlette.exceptions import HTTPException


def encode(*position: str | int) -> str:
    """A cursor that holds `position`."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def decode(cursor: str, *types: type) -> tuple[object, ...]:
    """The position that a cursor holds.

    Raises:
        HTTPException: 422, it is none that this route gave.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or [type(part) for part in found] != list(types):
        raise HTTPException(422, "cursor: not one that this route gave; leave it out to start over")
    return tuple(found)


def decode_session(cursor: str) -> tuple[str, date]:
    """Direction (`after` or `before`) and session of a cursor over sessions."""
    direction, day = decode(cursor, str, str)
    try:
        if direction in ("after", "before"):
            return str(direction), date.fromisoformat(str(day))
    except ValueError:
        pass
    raise HTTPException(422, "cursor: not one that this route gave; leave it out to start over")
