"""A Kubernetes API for tests, with the answers that they give it."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from json_handler import JsonHandler

Kinds = dict[str, dict[str, str]]
"""Plural by kind, by group and version, e.g. `{"v1": {"Secret": "secrets"}}`."""


Answer = tuple[int, dict[str, Any]]
"""Status and body."""


@contextmanager
def serving(answer: Callable[[str], Answer]) -> Iterator[str]:
    """The address of an API server; `answer` gets a path without its outer slashes and its query."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.reply(*answer(self.path.partition("?")[0].strip("/")))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def api_groups(names: Iterable[str]) -> dict[str, Any]:
    """The list of API groups, from names like `minio.min.io/v2`."""
    found = [
        {"name": group, "versions": [entry], "preferredVersion": entry}
        for name in sorted(names)
        for group, _, version in [name.partition("/")]
        for entry in [{"groupVersion": name, "version": version}]
    ]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def discovery(kinds: Kinds) -> AbstractContextManager[str]:
    """The address of an API server that knows these kinds and holds no object: what helm asks when it renders."""
    missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}

    def answer(path: str) -> Answer:
        body = _answer(path, kinds)
        return (404, missing) if body is None else (200, body)

    return serving(answer)


def _answer(path: str, kinds: Kinds) -> dict[str, Any] | None:
    if path == "version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.4"}
    if path == "api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "apis":
        return api_groups(name for name in kinds if "/" in name)
    name = path.removeprefix("apis/" if path.startswith("apis/") else "api/")
    if name in kinds:
        resources = [
            {"name": plural, "kind": kind, "namespaced": True, "singularName": kind.lower(), "verbs": ["get", "list"]}
            for kind, plural in kinds[name].items()
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}
    return None
