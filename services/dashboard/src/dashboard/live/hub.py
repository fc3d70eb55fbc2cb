"""Fans the live state out to the open pages: each event is serialised once, and no page can hold up another."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from dashboard.metrics import Metrics
from ticklake import logs

log = logs.get(__name__)

FLUSH_SECONDS = 0.2
"""Least time between two rounds of changes."""
STATUS_SECONDS = 5.0
HEARTBEAT_SECONDS = 15.0
_QUEUE_FRAMES = 32
"""Frames that wait for a page. One that is further behind gets the whole state again instead."""
_HELLO_SECONDS = 0.25
"""How long the opening message may be shared by pages that come at once."""

HEARTBEAT = b": still here\n\n"


def event(name: str, data: Any, number: int | None = None) -> bytes:
    """One server-sent event (HTML Living Standard, 9.2): the data is one line of JSON."""
    ident = b"" if number is None else b"id: %d\n" % number
    body = data.model_dump_json().encode() if isinstance(data, BaseModel) else to_json(data)
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), ident, body)


class Client:
    """One open page's queue."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.ready = asyncio.Event()
        self.behind = False
        """Frames were dropped: what comes next must be the whole state."""
        self.closed = False

    def offer(self, frame: bytes) -> bool:
        """Queue a frame; False where the page is so far behind that its queue was emptied."""
        kept = True
        if not self.behind:
            self.frames.append(frame)
            if len(self.frames) > _QUEUE_FRAMES:
                self.frames.clear()
                self.behind, kept = True, False
        self.ready.set()
        return kept


class Hub:
    """The event loop's side of the live state.

    Args:
        hello: makes the opening message's data; may block, is called in a thread.
        changes: takes the changes since the last call as (event name, data); quick.
        status: makes the status; may block, is called in a thread.
    """

    def __init__(
        self,
        hello: Callable[[], BaseModel],
        changes: Callable[[], list[tuple[str, Any]]],
        status: Callable[[], BaseModel],
        metrics: Metrics,
    ) -> None:
        self._make_hello, self._changes, self._status, self._metrics = hello, changes, status, metrics
        self._clients: set[Client] = set()
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._number = int(time.time())
        self._hello: tuple[float, bytes] = (0.0, b"")
        self._hello_lock = asyncio.Lock()
        self._status_due = asyncio.Event()
        self.closing = False

    @property
    def open_streams(self) -> int:
        """Pages that are connected."""
        return len(self._clients)

    def wake(self) -> None:
        """Notify that something changed; to be called from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._news.set)

    def join(self) -> Client:
        """Add a page."""
        client = Client()
        client.behind = True  # it begins with the whole state
        client.ready.set()
        self._clients.add(client)
        self._metrics.streams.set(len(self._clients))
        return client

    def leave(self, client: Client) -> None:
        """Take a page away."""
        self._clients.discard(client)
        self._metrics.streams.set(len(self._clients))

    def close(self) -> None:
        """End every stream."""
        self.closing = True
        for client in self._clients:
            client.closed = True
            client.ready.set()

    async def opening(self, client: Client) -> bytes:
        """The whole state as an event, after which `client` gets every change.

        It is one event for all pages that ask for it between two rounds of changes.
        """
        async with self._hello_lock:
            made, frame = self._hello
            stale = time.monotonic() - made > _HELLO_SECONDS
            if stale:
                self._send_changes()  # to the others: what the whole state has is not to come once more after it
            client.behind = False
            if stale:
                number = self._number = self._number + 1
                data = await asyncio.to_thread(self._make_hello)
                frame = b"retry: 2000\n" + event("hello", data, number)
                if number == self._number:
                    # Else a page that comes now would miss the changes sent meanwhile.
                    self._hello = (time.monotonic(), frame)
            return frame

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (self._flush, self._send_status, self._beat):
                group.create_task(self._forever(work))

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:
                log.error("the event stream failed", exc_info=error)
                await asyncio.sleep(1)

    async def _flush(self) -> None:
        await self._news.wait()
        self._news.clear()
        self._send_changes()
        await asyncio.sleep(FLUSH_SECONDS)

    async def _send_status(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._status_due.wait(), STATUS_SECONDS)
        self._status_due.clear()
        if self._clients:
            self._send(event("status", await asyncio.to_thread(self._status)))
        await asyncio.sleep(FLUSH_SECONDS)

    async def _beat(self) -> None:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        self._send(HEARTBEAT)

    def status_changed(self) -> None:
        """Send the status now; to be called from any thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._status_due.set)

    def _send_changes(self) -> None:
        changes = self._changes()
        if changes:
            self._number += 1
            self._hello = (0.0, b"")
            self._send(b"".join(event(name, data, self._number) for name, data in changes))

    def _send(self, frame: bytes) -> None:
        for client in self._clients:
            if not client.offer(frame):
                self._metrics.dropped.labels("caught_up").inc()
