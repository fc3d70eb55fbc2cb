"""Ends sessions of the local warehouse whose client died within a transaction.

Snowflake aborts the transaction of a session that is gone; fakesnow keeps it, and with it every row that it changed:
the next change of such a row fails with a conflict. A client keeps its TCP connections open for as long as it lives,
however long it computes between two statements, so a session without one has no client any more.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

GRACE_SECONDS = 3.0
"""How long a session may be without a connection: a client's pool can close one and open the next."""
_EVERY_SECONDS = 1.0


@dataclass
class _Client:
    """The connections by which one session's requests came."""

    connections: set[Any] = field(default_factory=set)
    running: int = 0
    """Requests that are not answered yet."""
    seen: float = 0.0
    """When (monotonic, seconds) it last was there."""


class AbandonedSessions:
    """Wraps fakesnow's application and watches who its sessions belong to.

    Args:
        app: the application.
        sessions: fakesnow's sessions by token. One that is ended here is taken out, so that a client which does come
            back gets an error rather than a commit of half its transaction.
        connections: uvicorn's open connections, a set that it keeps up to date.
    """

    def __init__(self, app: App, sessions: dict[str, Any], connections: set[Any]) -> None:
        self._app, self._sessions, self._connections = app, sessions, connections
        self._clients: dict[str, _Client] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        with self._noted(scope):
            await self._app(scope, receive, send)

    async def watch(self) -> None:
        """Look after the sessions until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            self.end_abandoned(time.monotonic())

    def end_abandoned(self, now: float) -> None:
        """End the sessions within a transaction that had no connection for `GRACE_SECONDS` at `now`."""
        for token, client in list(self._clients.items()):
            client.connections &= self._connections
            if client.connections or client.running:
                client.seen = now
            elif now - client.seen > GRACE_SECONDS:
                del self._clients[token]  # checked again after its next request, if there ever is one
                if _rolled_back(self._sessions.get(token)):
                    self._sessions.pop(token).close()
                    print("ended a session whose client was gone and rolled its transaction back", flush=True)

    @contextlib.contextmanager
    def _noted(self, scope: Scope) -> Iterator[None]:
        headers = dict(scope.get("headers") or ())
        token = headers.get(b"authorization", b"").decode("latin-1").partition('"')[2].rstrip('"')
        if token not in self._sessions:
            yield
            return
        client = self._clients.setdefault(token, _Client())
        # Not by address alone: a later client's connection can have the same port.
        client.connections |= {one for one in self._connections if one.client == scope.get("client")}
        client.running += 1
        try:
            yield
        finally:
            client.running -= 1
            client.seen = time.monotonic()


def _rolled_back(session: Any) -> bool:
    """Roll back what the session has open; whether there was anything."""
    if session is None:
        return False
    try:
        session._duck_conn.rollback()
    except duckdb.TransactionException:
        return False
    return True
