"""Headers, methods, limits, sign-in, static files and cursors, without a server."""

import asyncio
import base64
import gzip
import json
from datetime import date, timedelta

import pytest
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from dashboard.api import paging
from dashboard.api.middleware import Gate
from dashboard.api.parameters import page_of, symbol_list
from dashboard.main import main
from dashboard.metrics import Metrics
from dashboard.settings import DashboardOptions
from dashboard.static_files import StaticFiles


def ask(path="/x", method="GET", query=b"", scheme="http", options=None, **headers: str):
    """Status, headers and body that a gate before a plain text gives."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "scheme": scheme,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request"}

    gate = Gate(PlainTextResponse("hello"), options or DashboardOptions(), Metrics(CollectorRegistry()))
    asyncio.run(gate(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:])


def test_every_answer_has_the_security_headers():
    for answer in (ask(), ask(method="POST"), ask(query=b"x" * 5000)):
        headers = answer[1]
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "camera=()" in headers["permissions-policy"]
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
        assert "strict-transport-security" not in headers


def test_strict_transport_security_only_over_https():
    assert ask(scheme="https")[1]["strict-transport-security"].startswith("max-age=31536000")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_rejected(method):
    status, headers, body = ask(method=method)
    assert (status, headers["allow"], headers["content-type"]) == (405, "GET, HEAD", "application/problem+json")
    assert json.loads(body)["status"] == 405


def test_head_is_a_get_without_its_body():
    status, headers, body = ask(method="HEAD")
    assert (status, headers["content-length"], body) == (200, "5", b"")


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"query": b"a" * 4097}, 414),
        ({"query": b"a" * 4096}, 200),
        ({"path": "/" + "a" * 2048}, 414),
        ({"cookie": "a" * 33_000}, 431),
    ],
)
def test_sizes_are_limited(parameters, status):
    assert ask(**parameters)[0] == status


def test_sign_in_needs_the_very_user_and_password():
    options = DashboardOptions(user="u", password="p:w")
    right = base64.b64encode(b"u:p:w").decode()
    assert ask(options=options, authorization=f"Basic {right}")[0] == 200
    assert ask(options=options, authorization=f"basic {right}")[0] == 200
    for wrong in ("", right, f"Bearer {right}", f"Basic {right}x", "Basic " + base64.b64encode(b"u:p").decode()):
        status, headers, _ = ask(options=options, authorization=wrong)
        assert (status, headers["www-authenticate"]) == (401, 'Basic realm="ticklake", charset="UTF-8"')


@pytest.fixture
def catalog(monkeypatch, tmp_path):
    """The address that is required."""
    monkeypatch.setenv("TICKLAKE_CATALOG_URI", f"sqlite:///{tmp_path}/catalog.db")


@pytest.mark.usefixtures("catalog")
def test_a_password_without_a_user_is_a_wrong_setting(monkeypatch, capsys):
    monkeypatch.setenv("TICKLAKE_DASHBOARD_PASSWORD", "geheim")
    with pytest.raises(SystemExit) as ended:
        main([])
    printed = capsys.readouterr().err
    assert ended.value.code == 2
    assert "set both or neither" in printed
    assert "geheim" not in printed
    assert printed.count("\n") == 1


def test_without_a_catalog_it_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.delenv("TICKLAKE_CATALOG_URI", raising=False)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "dashboard: TICKLAKE_CATALOG_URI: Field required\n"


@pytest.mark.usefixtures("catalog")
def test_a_port_in_use_is_one_clear_line(monkeypatch, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("TICKLAKE_DASHBOARD_PORT", str(port))
        with pytest.raises(SystemExit) as ended:
            main([])
    assert ended.value.code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


@pytest.fixture
def files(tmp_path):
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "app.js").write_text("let a = 1;\n" * 200)
    (tmp_path / "static" / "small.css").write_text("a {}")
    (tmp_path / "secret").write_text("secret")
    return StaticFiles(tmp_path / "static")


def fetch(files, name, **headers):
    raw = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    return files.answer(name, Request({"type": "http", "headers": raw}))


def test_files_have_an_etag_by_content_and_are_compressed(files, tmp_path):
    plain = fetch(files, "app.js")
    assert (plain.media_type, plain.headers["cache-control"]) == ("text/javascript; charset=utf-8", "no-cache")
    packed = fetch(files, "app.js", accept_encoding="gzip, br")
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < 100
    etag = plain.headers["etag"]
    assert fetch(files, "app.js", if_none_match=f'"other", W/{etag}').status_code == 304
    (tmp_path / "static" / "app.js").write_text("let b = 2;\n" * 201)
    changed = fetch(files, "app.js", if_none_match=etag)
    assert (changed.status_code, changed.headers["etag"] != etag) == (200, True)
    assert "content-encoding" not in fetch(files, "small.css", accept_encoding="gzip").headers


@pytest.mark.parametrize("name", ["../secret", "..", "", "none.js", "/etc/passwd", "app.js/..", "\0", "a" * 500])
def test_nothing_outside_the_folder_is_served(files, name):
    with pytest.raises(HTTPException) as rejected:
        fetch(files, name)
    assert rejected.value.status_code == 404


def test_the_chart_library_is_served_with_its_licence():
    files = StaticFiles()
    library = fetch(files, "vendor/lightweight-charts.js")
    assert b"TradingView Lightweight Charts" in library.body[:200]
    assert library.media_type == "text/javascript; charset=utf-8"
    assert b"Apache License" in fetch(files, "vendor/lightweight-charts.LICENSE.txt").body


def test_cursors_hold_what_was_put_in_and_nothing_else_is_taken():
    assert paging.decode(paging.encode(12, "key/ä"), int, str) == (12, "key/ä")
    for wrong in ("", "%%%", "bm90IGpzb24", paging.encode("a", "b"), paging.encode(1), paging.encode(True, "b"), "é"):
        with pytest.raises(HTTPException) as rejected:
            paging.decode(wrong, int, str)
        assert rejected.value.status_code == 422


DAYS = [date(2026, 1, 1) + timedelta(days=n) for n in range(10)]


def test_pages_over_sessions():
    assert page_of(DAYS, None, None, 4, None)[:2] == (6, 10)
    begin, end, cursor = page_of(DAYS, None, None, 4, page_of(DAYS, None, None, 4, None)[2])
    assert (begin, end) == (2, 6)
    assert page_of(DAYS, None, None, 4, cursor) == (0, 2, None)
    begin, end, cursor = page_of(DAYS, DAYS[3], DAYS[8], 4, None)
    assert (begin, end) == (3, 7)
    assert page_of(DAYS, DAYS[3], DAYS[8], 4, cursor) == (7, 9, None)
    assert page_of([], None, None, 4, None) == (0, 0, None)
    assert page_of(DAYS, DAYS[5], DAYS[4], 4, None) == (0, 0, None)


def test_symbol_lists():
    assert symbol_list("aapl, MSFT,AAPL,") == ["AAPL", "MSFT"]
    assert symbol_list(None) is None
    for wrong in ("", ",", "A B", ",".join(f"S{n}" for n in range(31))):
        with pytest.raises(HTTPException):
            symbol_list(wrong)
