"""A Kubernetes API that knows its kinds and holds no object: what helm asks of a cluster when it renders."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Kinds = dict[str, dict[str, str]]
"""Plural by kind, by group and version, e.g. `{"v1": {"Secret": "secrets"}}`."""


@contextmanager
def discovery(kinds: Kinds) -> Iterator[str]:
    """The address of an API server with these kinds."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = _answer(self.path.partition("?")[0].strip("/"), kinds)
            text = json.dumps(
                body or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            ).encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _answer(path: str, kinds: Kinds) -> dict[str, Any] | None:
    groups = {name for name in kinds if "/" in name}
    if path == "version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.4"}
    if path == "api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "apis":
        found = [
            {"name": group, "versions": [entry], "preferredVersion": entry}
            for name in sorted(groups)
            for group, _, version in [name.partition("/")]
            for entry in [{"groupVersion": name, "version": version}]
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}
    name = path.removeprefix("apis/" if path.startswith("apis/") else "api/")
    if name in kinds:
        resources = [
            {"name": plural, "kind": kind, "namespaced": True, "singularName": kind.lower(), "verbs": ["get", "list"]}
            for kind, plural in kinds[name].items()
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}
    return None
