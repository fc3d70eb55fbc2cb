"""Errors as `application/problem+json` (RFC 9457)."""

import json
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ticklake import logs
from ticklake.errors import StageError
from ticklake.history import NothingKnownError, UnknownSymbolError

log = logs.get(__name__)

MEDIA_TYPE = "application/problem+json"
_RETRY_SECONDS = "5"


def problem(
    status: int, detail: str, instance: str, headers: dict[str, str] | None = None, **more: Any
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an error answer."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
        **more,
    }
    extra = {"retry-after": _RETRY_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return json.dumps(body).encode(), {
        "content-type": MEDIA_TYPE,
        "cache-control": "no-store",
        **extra,
        **(headers or {}),
    }


def _answer(request: Request, status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    body, all_headers = problem(status, detail, request.url.path, headers, **more)
    return Response(body, status, all_headers)


def install(app: FastAPI) -> None:
    """Turn every error of `app` into a problem; what this service itself got wrong reveals nothing of its internals."""

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
        return _answer(request, error.status_code, str(error.detail), dict(error.headers or {}))

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        errors = [
            {"where": ".".join(str(part) for part in item["loc"]), "message": str(item["msg"])}
            for item in error.errors()
        ]
        detail = "; ".join(f"{item['where']}: {item['message']}" for item in errors)
        return _answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)

    async def on_unknown(request: Request, error: Exception) -> Response:
        return _answer(request, HTTPStatus.NOT_FOUND, str(error))

    async def on_too_early(request: Request, error: Exception) -> Response:
        return _answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, str(error))

    async def on_away(request: Request, error: Exception) -> Response:
        return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    async def on_fault(request: Request, error: Exception) -> Response:
        log.error("request failed", path=request.url.path, exc_info=error)
        return _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed to answer; its log says why")

    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(UnknownSymbolError, on_unknown)
    app.add_exception_handler(NothingKnownError, on_too_early)
    app.add_exception_handler(StageError, on_away)
    app.add_exception_handler(Exception, on_fault)
