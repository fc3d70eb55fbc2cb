"""Ticks, windows and alerts from the real topics to the API and the event stream."""

import asyncio
import base64
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from event_client import events, open_stream, until

from ticklake.alerts import Alert
from ticklake.kafka import ConfirmedProducer
from ticklake.records import iso_ms


def place(server) -> tuple[str, int]:
    parts = urlsplit(server.url)
    return parts.hostname, parts.port


def put(kafka_settings, topic: str, key: str, value: dict) -> None:
    with ConfirmedProducer(kafka_settings, "test", linger_ms=0) as producer:
        producer.send(topic, key=key.encode(), value=json.dumps(value).encode())


def window(start: datetime, version: int, *, final: bool = False, **more) -> dict:
    ends = start + timedelta(minutes=15)
    return {
        "symbol": "AAPL",
        "window_length": "15m",
        "window_start": iso_ms(start),
        "window_end": iso_ms(ends),
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "vwap": 10.5,
        "volume": 300,
        "tick_count": 3,
        "moving_average": 10.4,
        "volatility": 0.5,
        "first_event_time": iso_ms(start),
        "last_event_time": iso_ms(start),
        "source": "simulated",
        "version": version,
        "final": final,
    } | more


def test_quotes_count_what_arrived(serve, ticks):
    before = datetime.now(UTC)
    ticks.send(("AAPL", 100.0), ("MSFT", 50.0), volume=10)
    server = serve()
    server.wait("/quotes", lambda answer: len(answer["items"]) == 2)
    ticks.send(("AAPL", 104.0), volume=20)
    # Late by event time: it counts for high, low and volume, the price stays the newest's.
    ticks.send(("AAPL", 90.0), volume=5, at=before - timedelta(milliseconds=1))
    quote = server.wait("/quotes", lambda answer: answer["items"][0]["volume"] == 35)["items"][0]
    arrived = datetime.fromisoformat(quote.pop("arrived_at"))
    event_time = datetime.fromisoformat(quote.pop("event_time"))
    assert before - timedelta(seconds=1) < event_time <= arrived + timedelta(milliseconds=5)
    assert quote.pop("change_percent") == pytest.approx(4.0)
    assert quote == {
        "symbol": "AAPL",
        "price": 104.0,
        "change": 4.0,
        "volume": 35,
        "high": 104.0,
        "low": 90.0,
        "source": "simulated",
        "previous_close": None,
        "change_since": "first_tick",
        "sparkline": [90.0, 100.0, 104.0],
    }
    status = server.wait("/status", lambda answer: answer["market"] and answer["store"]["state"] == "ok")
    assert (status["live"]["state"], status["live"]["symbols"]) == ("live", ["AAPL", "MSFT"])
    assert status["broker"] == {"state": "ok", "detail": ""}
    assert status["zone"] == "America/New_York"
    (listed, _) = server.json("/symbols")["items"]
    assert (listed["symbol"], listed["live"], listed["sessions"]) == ("AAPL", True, None)
    held = server.json("/symbols/AAPL/ticks?limit=2")["items"]
    assert [(tick["price"], tick["volume"]) for tick in held] == [(100.0, 10), (104.0, 20)]
    rows = list(csv.DictReader(io.StringIO(server.get("/api/v1/symbols/AAPL/ticks?format=csv")[2].decode())))
    assert [row["price"] for row in rows] == ["90", "100", "104"]


def test_the_stream_begins_with_everything_and_goes_on_with_changes(serve, ticks, live, kafka_settings):
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)
    ticks.send(("AAPL", 100.0))
    put(kafka_settings, live.names.analytics_topic, "a", window(start, 1))
    server = serve(DASHBOARD_STALE_SECONDS="600")
    server.wait("/quotes", lambda answer: answer["items"])
    server.wait("/symbols/AAPL/windows", lambda answer: answer["items"])

    async def follow():
        _, reader, writer = await open_stream(*place(server))
        found = events(reader)
        hello = await until(found, "hello")
        assert [quote["price"] for quote in hello.data["quotes"]] == [100.0]
        assert [w["window_start"] for w in hello.data["windows"]] == [iso_ms(start)]
        assert hello.data["status"]["live"]["state"] == "live"
        await asyncio.to_thread(ticks.send, ("AAPL", 101.0), ("MSFT", 7.0))
        (change,) = [i for i in (await until(found, "quotes")).data["items"] if i["symbol"] == "AAPL"]
        assert (change["price"], change["change"]) == (101.0, 1.0)
        assert set(change) == {
            "symbol",
            "price",
            "change",
            "change_percent",
            "volume",
            "high",
            "low",
            "event_time",
            "arrived_at",
            "source",
        }
        await asyncio.to_thread(put, kafka_settings, live.names.analytics_topic, "a", window(start, 2, final=True))
        assert (await until(found, "window")).data["final"] is True
        alert = Alert(
            alert_id="a-1",
            rule="up",
            symbol="AAPL",
            kind="price_cross",
            severity="warning",
            message="AAPL above 100",
            value=101,
            threshold=100,
            event_time=datetime.now(UTC),
            raised_at=datetime.now(UTC),
            source="simulated",
            state="raised",
        )
        for _ in range(2):
            await asyncio.to_thread(put, kafka_settings, live.names.alerts_topic, "AAPL", alert.model_dump(mode="json"))
        assert (await until(found, "alert")).data == alert.model_dump(mode="json")
        assert (await until(found, "status")).data["live"]["symbols"] == ["AAPL", "MSFT"]
        writer.close()
        return alert

    alert = asyncio.run(follow())
    assert server.json("/alerts")["items"] == [alert.model_dump(mode="json")]
    assert server.json("/alerts/rules") == {"configured": False, "items": []}


def test_of_a_window_the_newest_version_is_shown_with_bands(serve, live, kafka_settings):
    start = datetime.now(UTC).replace(second=0, microsecond=0)
    topic = live.names.analytics_topic
    put(kafka_settings, topic, "a", window(start, 5, moving_average=20.0, volatility=1.5))
    put(kafka_settings, topic, "a", window(start, 4, moving_average=99.0))
    put(kafka_settings, topic, "a", window(start - timedelta(minutes=1), 2, volatility=None, tick_count=1))
    put(kafka_settings, topic, "a", {"not": "a window"})
    server = serve()
    items = server.wait("/symbols/AAPL/windows?length=15m", lambda answer: len(answer["items"]) == 2)["items"]
    older, newer = items
    assert (newer["moving_average"], newer["upper_band"], newer["lower_band"]) == (20.0, 23.0, 17.0)
    assert (older["upper_band"], older["lower_band"], older["final"]) == (None, None, False)
    since = iso_ms(start)
    assert len(server.json(f"/symbols/AAPL/windows?from={since}")["items"]) == 1
    _, _, body = server.get("/api/v1/symbols/AAPL/windows?format=csv")
    assert [row["moving_average"] for row in csv.DictReader(io.StringIO(body.decode()))] == ["10.4", "20"]


def test_prices_without_ticks_are_stale_and_the_pages_are_notified(serve, ticks):
    server = serve(DASHBOARD_STALE_SECONDS="2")
    assert server.wait("/status", lambda s: s["broker"]["state"] == "ok")["live"]["state"] == "empty"

    async def follow():
        _, reader, writer = await open_stream(*place(server))
        found = events(reader)
        await until(found, "hello")
        await asyncio.to_thread(ticks.send, ("AAPL", 100.0))
        states = [(await until(found, "status")).data["live"]["state"] for _ in range(3)]
        writer.close()
        return states

    assert asyncio.run(follow())[-1] == "stale"
    assert server.json("/status")["live"]["age_seconds"] > 2


def test_sign_in(serve):
    server = serve(DASHBOARD_USER="viewer", DASHBOARD_PASSWORD="geheim: ä")
    for path in ("/", "/static/index.html", "/api/v1/status", "/api/v1/stream", "/openapi.json"):
        status, headers, _ = server.get(path)
        assert (status, headers["content-type"]) == (401, "application/problem+json")
        assert headers["www-authenticate"] == 'Basic realm="ticklake", charset="UTF-8"'
        assert headers["x-content-type-options"] == "nosniff"

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    for wrong in (basic("viewer:geheim"), basic("viewer"), basic(":"), "Bearer abc", "Basic %%%", ""):
        assert server.get("/api/v1/status", Authorization=wrong)[0] == 401
    assert server.get("/api/v1/status", Authorization=basic("viewer:geheim: ä"))[0] == 200
    assert "ticklake_dashboard_open_streams" in server.metrics()
    assert "geheim" not in server.log.read_text()


def test_at_sigterm_the_streams_end_and_the_server_is_gone_in_time(serve, ticks):
    server = serve()

    async def follow() -> float:
        streams = [await open_stream(*place(server)) for _ in range(5)]
        readers = [events(reader) for _, reader, _ in streams]
        for found in readers:
            await until(found, "hello")
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        async with asyncio.timeout(5):
            for found in readers:
                # Ends by the protocol, not by a broken connection.
                assert [event.name async for event in found if event.name != "status"] == []
        return await stopping

    assert asyncio.run(follow()) < 10


def test_more_pages_than_allowed_are_rejected(serve):
    server = serve(DASHBOARD_STREAMS="1")

    async def follow():
        first, reader, writer = await open_stream(*place(server))
        await until(events(reader), "hello")
        second, _, other = await open_stream(*place(server))
        for each in (writer, other):
            each.close()
        return first, second

    assert asyncio.run(follow()) == (200, 503)
