"""A small client of the event stream over a plain socket, so that many cost little."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from waiting import SECONDS


@dataclass
class Event:
    """One server-sent event."""

    name: str
    data: Any
    ident: str | None


async def open_stream(
    host: str, port: int, headers: str = ""
) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for the stream; returns the status."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET /api/v1/stream HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower() or b" 200 " not in head
    return int(head.split()[1]), reader, writer


async def raw_events(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The text of one event after the other, until the server ends the stream."""
    buffer = b""
    while True:
        size = int(await reader.readline(), 16)
        chunk = await reader.readexactly(size + 2)
        if size == 0:
            assert buffer == b"", "the stream ended in the middle of an event"
            return
        buffer += chunk[:-2]
        *whole, buffer = buffer.split(b"\n\n")
        for text in whole:
            yield text


def parsed(text: bytes) -> Event | None:
    """The event of a text, None for a comment."""
    fields = dict(line.split(": ", 1) for line in text.decode().splitlines() if not line.startswith(":"))
    if "event" not in fields:
        return None
    return Event(fields["event"], json.loads(fields["data"]), fields.get("id"))


async def events(reader: asyncio.StreamReader) -> AsyncIterator[Event]:
    """One event after the other."""
    async for text in raw_events(reader):
        if (event := parsed(text)) is not None:
            yield event


async def until(found: AsyncIterator[Event], name: str) -> Event:
    """The next event of that name."""
    async with asyncio.timeout(SECONDS):
        async for event in found:
            if event.name == name:
                return event
    raise AssertionError(f"the stream ended before an event {name}")
