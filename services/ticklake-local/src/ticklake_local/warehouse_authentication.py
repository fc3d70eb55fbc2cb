"""Asks clients of the local warehouse for a password: fakesnow itself takes any."""

import gzip
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pydantic import SecretStr

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PATH = "/session/v1/login-request"
# What Snowflake answers, with HTTP 200, to a wrong user or password.
_REJECTED = {
    "data": {},
    "code": "390100",
    "message": "Incorrect username or password was specified.",
    "success": False,
    "headers": None,
}


class SignIn:
    """Wraps the application: a session is opened with `password` only, and nothing works without a session."""

    def __init__(self, app: App, password: SecretStr) -> None:
        self._app, self._password = app, password.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        from starlette.requests import Request
        from starlette.responses import JSONResponse

        if scope.get("path") != _PATH:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        if not hmac.compare_digest(_password(body, request.headers.get("content-encoding")), self._password):
            await JSONResponse(_REJECTED)(scope, receive, send)
            return

        async def again() -> Scope:
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)


def _password(body: bytes, encoding: str | None) -> bytes:
    """The password in a sign-in; empty where there is none."""
    try:
        data = json.loads(gzip.decompress(body) if encoding == "gzip" else body)["data"]
        return str(data["PASSWORD"]).encode()
    except (OSError, ValueError, KeyError, TypeError):
        return b""
