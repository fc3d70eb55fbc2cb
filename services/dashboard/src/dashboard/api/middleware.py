"""What every request passes: methods, sizes, sign-in, security headers, metrics. Plain ASGI, so streams pass unheld."""

import base64
import binascii
import hashlib
import hmac
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.api.problems import problem
from dashboard.metrics import Metrics
from dashboard.settings import DashboardOptions

_MOST_QUERY, _MOST_PATH, _MOST_HEADERS = 4096, 2048, 32 * 1024
"""Bytes."""

_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "font-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), "
    "payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_STRICT_TRANSPORT = "max-age=31536000; includeSubDomains"


class Rejected(Exception):
    """A request that is answered at once."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class Gate:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, options: DashboardOptions, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._sign_in: bytes | None = None
        if options.user is not None and options.password is not None:
            self._sign_in = _digest(f"{options.user}:{options.password.get_secret_value()}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, streams = time.perf_counter(), 500, False
        secure, head = scope.get("scheme") == "https", scope["method"] == "HEAD"

        async def answer(message: Message) -> None:
            nonlocal status, streams
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                streams = headers.get("content-type", "").startswith("text/event-stream")
                for name, value in _HEADERS.items():
                    headers[name] = value
                if secure:
                    headers["strict-transport-security"] = _STRICT_TRANSPORT
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            self._check(scope)
        except Rejected as rejected:
            body, headers = problem(rejected.status, rejected.detail, scope["path"], rejected.headers)
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            raw.append((b"content-length", str(len(body)).encode()))
            await answer({"type": "http.response.start", "status": rejected.status, "headers": raw})
            await answer({"type": "http.response.body", "body": body})
        else:
            # The routes know GET only; a HEAD is a GET whose body stays here.
            inner = {**scope, "method": "GET", "ticklake.head": True} if head else scope
            await self._app(inner, receive, answer)
            scope = inner
        if not streams:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).observe(time.perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise Rejected(405, "this service is read-only: GET and HEAD only", {"allow": "GET, HEAD"})
        if len(scope["query_string"]) > _MOST_QUERY or len(scope["path"]) > _MOST_PATH:
            raise Rejected(414, f"at most {_MOST_PATH} bytes of path and {_MOST_QUERY} of parameters")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > _MOST_HEADERS:
            raise Rejected(431, f"at most {_MOST_HEADERS} bytes of headers")
        if self._sign_in is not None and not self._signed_in(Headers(scope=scope).get("authorization", "")):
            raise Rejected(
                401,
                "sign in with the user and password of this dashboard",
                {"www-authenticate": 'Basic realm="ticklake", charset="UTF-8"'},
            )

    def _signed_in(self, header: str) -> bool:
        scheme, _, given = header.partition(" ")
        try:
            credentials = base64.b64decode(given.strip(), validate=True)
        except (binascii.Error, ValueError):
            credentials = b""
        # Digests are of one length: the comparison reveals nothing of the password's.
        equal = hmac.compare_digest(_digest(credentials), self._sign_in or b"")
        return equal and scheme.lower() == "basic"


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
