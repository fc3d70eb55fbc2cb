"""The fan-out: what is sent once goes to all, and a page that takes nothing holds up nobody."""

import asyncio
import contextlib
import json

import pytest
from prometheus_client import CollectorRegistry
from waiting import SECONDS

from dashboard.api.event_stream import EventStream
from dashboard.api.models import PartState
from dashboard.live.hub import FLUSH_SECONDS, Hub
from dashboard.metrics import Metrics


class Part:
    """A state that counts how often it was asked."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, object]] = []
        self.hellos = 0
        self.metrics = Metrics(CollectorRegistry())

    def hello(self) -> PartState:
        self.hellos += 1
        return PartState(state="ok", detail=str(self.hellos))

    def changes(self) -> list[tuple[str, object]]:
        taken, self.waiting = self.waiting, []
        return taken

    @contextlib.asynccontextmanager
    async def hub(self):
        hub = Hub(self.hello, self.changes, self.hello, self.metrics)
        task = asyncio.create_task(hub.run())
        try:
            yield hub
        finally:
            hub.close()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def dropped(self, outcome: str) -> float:
        return self.metrics.dropped.labels(outcome)._value.get()


class Page:
    """A page's end of an ASGI connection; `hold` lets it take nothing."""

    def __init__(self, hub: Hub, metrics: Metrics, slow_seconds: float = 5) -> None:
        self.events: list[tuple[str, dict]] = []
        self.ended = False
        self.taking = asyncio.Event()
        self.taking.set()
        self._left = asyncio.Event()
        stream = EventStream(hub, metrics, slow_seconds)
        self.task = asyncio.create_task(stream({"type": "http"}, self._receive, self._send))

    async def _receive(self):
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        await self.taking.wait()
        if message["type"] == "http.response.body":
            self.ended = not message.get("more_body", False)
            for text in message["body"].decode().split("\n\n")[:-1]:
                fields = dict(line.split(": ", 1) for line in text.splitlines() if line[0] != ":")
                if "event" in fields:
                    self.events.append((fields["event"], json.loads(fields["data"])))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SECONDS):
            while len(self.events) < count:
                await asyncio.sleep(0.01)

    def leave(self) -> None:
        self._left.set()


@pytest.fixture
def part() -> Part:
    return Part()


def test_pages_that_come_together_share_the_opening(part):
    async def work():
        async with part.hub() as hub:
            pages = [Page(hub, part.metrics) for _ in range(50)]
            for page in pages:
                await page.until(1)
            assert {page.events[0][0] for page in pages} == {"hello"}
            assert hub.open_streams == 50
            for page in pages:
                page.leave()
            await asyncio.gather(*(page.task for page in pages))
            assert hub.open_streams == 0

    asyncio.run(work())
    assert part.hellos <= 3


def test_changes_are_coalesced(part):
    async def work():
        async with part.hub() as hub:
            page = Page(hub, part.metrics)
            await page.until(1)
            began = asyncio.get_running_loop().time()
            for number in range(30):
                part.waiting = [("quotes", {"number": number})]
                hub.wake()
                await asyncio.sleep(0.02)
            await asyncio.sleep(2 * FLUSH_SECONDS)
            rounds = (asyncio.get_running_loop().time() - began) / FLUSH_SECONDS
            quotes = [data["number"] for name, data in page.events if name == "quotes"]
            assert quotes[0] == 0, "the first goes at once"
            assert quotes[-1] == 29
            assert len(quotes) <= rounds + 1

    asyncio.run(work())


def test_a_page_that_takes_nothing_for_a_while_gets_the_whole_state_anew(part):
    async def work():
        async with part.hub() as hub:
            slow, quick = Page(hub, part.metrics), Page(hub, part.metrics)
            await slow.until(1)
            await quick.until(1)
            slow.taking.clear()
            for number in range(40):
                # As the flush does, without its pause.
                hub._send(b'event: quotes\ndata: {"number": %d}\n\n' % number)
                await asyncio.sleep(0)
            await quick.until(41)
            slow.taking.set()
            await slow.until(2)
            await asyncio.sleep(0.05)
            names = [name for name, _ in slow.events]
            # One frame was on its way when it stopped taking; the rest gave way to the state itself.
            assert names in (["hello", "quotes", "hello"], ["hello", "hello"])

    asyncio.run(work())
    assert part.dropped("caught_up") == 1


def test_a_page_that_takes_nothing_at_all_is_let_go(part):
    async def work():
        async with part.hub() as hub:
            page = Page(hub, part.metrics, slow_seconds=0.2)
            await page.until(1)
            page.taking.clear()
            part.waiting = [("quotes", {})]
            hub.wake()
            async with asyncio.timeout(SECONDS):
                await page.task
            assert hub.open_streams == 0

    asyncio.run(work())
    assert part.dropped("let_go") == 1


def test_a_failing_part_does_not_end_the_stream(part):
    async def work():
        async with part.hub() as hub:
            page = Page(hub, part.metrics)
            await page.until(1)
            good, part.changes = part.changes, None
            hub._changes = lambda: 1 / 0
            hub.wake()
            await asyncio.sleep(0.1)
            hub._changes = good
            part.waiting = [("quotes", {"number": 1})]
            hub.wake()
            await page.until(2)

    asyncio.run(work())


def test_closing_ends_every_stream_in_order(part):
    async def work():
        async with part.hub() as hub:
            pages = [Page(hub, part.metrics) for _ in range(5)]
            for page in pages:
                await page.until(1)
            hub.close()
            await asyncio.gather(*(page.task for page in pages))
            assert all(page.ended for page in pages)

    asyncio.run(work())
