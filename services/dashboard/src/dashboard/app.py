"""The web application: routes, the page's files, and what every answer passes."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from dashboard.api import daily as routes_daily
from dashboard.api import live as routes_live
from dashboard.api import platform as routes_platform
from dashboard.api import problems
from dashboard.api.middleware import Gate
from dashboard.api.models import Problem
from dashboard.api.parameters import BASE
from dashboard.service import Service
from dashboard.static_files import StaticFiles

_DESCRIPTION = """
Read-only. JSON in UTF-8; times are ISO 8601 in UTC with milliseconds, session dates `YYYY-MM-DD`, shares of a whole
fractions of 1 unless a name says percent. Paged answers have `next_cursor`; errors are `application/problem+json`
(RFC 9457). A symbol may exist from several sources; every answer says which it is from. Daily history can be had as it
was known at any moment (`as_of`) and up to any day (`until`), bars adjusted as asked (`adjust`).
"""
_PROBLEM: dict[str, Any] = {"model": Problem, "content": {problems.MEDIA_TYPE: {}}}
_ERRORS: dict[int | str, dict[str, Any]] = {
    404: {**_PROBLEM, "description": "No such symbol, run or page"},
    414: {**_PROBLEM, "description": "A path or parameters that are too long"},
    422: {**_PROBLEM, "description": "A wrong parameter"},
    503: {**_PROBLEM, "description": "The store or the broker does not answer"},
}


def make_api(service: Service, static: StaticFiles) -> FastAPI:
    """The application without the gate in front."""
    app = FastAPI(
        title="ticklake dashboard",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{BASE}/openapi.json",
    )
    app.state.service = service
    for routes in (routes_live, routes_daily, routes_platform):
        app.include_router(routes.router, responses=_ERRORS)
    problems.install(app)

    @app.get("/openapi.json", include_in_schema=False)
    def description() -> dict[str, Any]:
        return app.openapi()

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        return static.answer("index.html", request)

    @app.get("/static/{name:path}", include_in_schema=False)
    def file(name: str, request: Request) -> Response:
        return static.answer(name, request)

    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)
    return app


def make_app(service: Service, static: StaticFiles) -> ASGIApp:
    """The whole application."""
    return Gate(make_api(service, static), service.options, service.metrics)
