"""The answer to `GET /stream`: one page's event stream."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dashboard.live.hub import Client, Hub
from dashboard.metrics import Metrics

MEDIA_TYPE = "text/event-stream"
_HEADERS = {
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",  # nginx would hold the events back
}


class EventStream(Response):
    """An ASGI answer that sends a page its events until it leaves, falls silent or the service stops.

    Not Starlette's StreamingResponse: a page that takes nothing has to be let go, which needs a limit on each write.

    Args:
        slow_seconds: how long one write may wait for the page to take it.
    """

    def __init__(self, hub: Hub, metrics: Metrics, slow_seconds: float) -> None:
        super().__init__(headers=_HEADERS, media_type=MEDIA_TYPE)
        del self.headers["content-length"]
        self._hub, self._metrics, self._slow_seconds = hub, metrics, slow_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope.get("ticklake.head"):
            await send({"type": "http.response.body", "body": b""})
            return
        client = self._hub.join()
        gone = asyncio.create_task(_left(receive, client))
        try:
            await self._serve(client, send)
        finally:
            self._hub.leave(client)
            gone.cancel()

    async def _serve(self, client: Client, send: Send) -> None:
        try:
            while not client.closed:
                await client.ready.wait()
                client.ready.clear()
                if client.closed:
                    break
                if client.behind:
                    await self._write(send, await self._hub.opening(client))
                if client.frames:
                    # Everything that waits goes in one write.
                    body = b"".join(client.frames)
                    client.frames.clear()
                    await self._write(send, body)
            async with asyncio.timeout(1):
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            self._metrics.dropped.labels("let_go").inc()

    async def _write(self, send: Send, body: bytes) -> None:
        async with asyncio.timeout(self._slow_seconds):
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _left(receive: Receive, client: Client) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    client.closed = True
    client.ready.set()
