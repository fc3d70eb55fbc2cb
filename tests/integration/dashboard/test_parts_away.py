"""Broker and store away at the start, and gone and back later: the server goes on, says so, and recovers."""

import json
import time
from datetime import date, timedelta

import pytest
from dashboard_rig import TickSender, dashboard_running
from lake_writer import put_daily
from pydantic import SecretStr

from ticklake.catalog import LakeTables
from ticklake.kafka import ensure_topics
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, KafkaSettings, StoreSettings
from ticklake.topics import live_names, live_topics
from ticklake_local.broker import Broker
from ticklake_local.processes import free_port
from ticklake_local.store import Store

DAYS = [date(2026, 1, 5) + timedelta(days=n) for n in range(3)]


@pytest.fixture
def parts(local_tools, tmp_path):
    """A broker and a store that this test may stop; not started yet."""
    java, jars = local_tools.java, local_tools.jars
    broker = Broker(java, jars["kafka"], tmp_path / "kafka", tmp_path, free_port())
    store = Store(java, jars["s3proxy"], tmp_path / "store", tmp_path, free_port(), "key", "secret-key")
    yield broker, store
    for part in (broker, store):
        part.stop()


def test_the_server_outlives_its_parts(parts, programs, stage_env, catalog_settings, tmp_path):
    broker, store = parts
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{broker.port}")
    settings = StoreSettings(endpoint=store.endpoint, access_key=SecretStr("key"), secret_key=SecretStr("secret-key"))
    environment = stage_env(
        TICKLAKE_KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap_servers,
        TICKLAKE_STORE_ENDPOINT=settings.endpoint,
        TICKLAKE_STORE_ACCESS_KEY="key",
        TICKLAKE_STORE_SECRET_KEY="secret-key",
        TICKLAKE_LIVE_NAMESPACE="",
        TICKLAKE_STORE_BUCKET=settings.bucket,
    )
    with dashboard_running(programs, environment, tmp_path) as server:
        # Nothing is there: the page itself is served, and what cannot be answered is a 503.
        status = server.wait("/status", lambda s: "does not answer" in s["broker"]["detail"])
        assert (status["store"]["state"], status["broker"]["state"]) == ("error", "error")
        assert server.get("/")[0] == 200
        for path in ("/symbols", "/symbols/A/bars", "/runs", "/quarantine", "/lag"):
            code, headers, body = server.get(f"/api/v1{path}")
            assert (code, headers["content-type"], headers["retry-after"]) == (503, "application/problem+json", "5")
            assert "does not answer" in json.loads(body)["detail"]

        for part in parts:
            part.start()
        for part in parts:
            part.wait_ready()
        ensure_topics(kafka, live_topics(live_names()))
        # No group ever committed here, so the topic of their offsets is made at this question.
        server.wait("/status", lambda s: s["broker"]["state"] == "ok")
        asked = time.monotonic()
        items = server.json("/lag")["items"]
        print(f"the lag of a new broker is reported after {time.monotonic() - asked:.1f} s")
        assert len(items) == 2 * 4
        assert {(item["state"], item["position"], item["lag"]) for item in items} == {("never", None, None)}
        ObjectStore(settings).create_bucket()
        closes = {"A": dict.fromkeys(DAYS, 10.0), "B": dict.fromkeys(DAYS, 5.0)}
        put_daily(LakeTables(catalog_settings, settings), closes)
        sender = TickSender(kafka, live_names().topic)
        sender.send(("A", 11.0))
        # Measured against the close in the lake, as the ticks' source is that of its rows.
        quote = server.wait("/quotes", lambda q: q["items"] and q["items"][0]["previous_close"])["items"][0]
        assert (quote["change"], quote["change_since"]) == (pytest.approx(1.0), "previous_close")
        assert len(server.wait("/symbols/A/bars", lambda bars: bars["items"])["items"]) == 3
        server.wait("/status", lambda s: s["broker"]["state"] == s["store"]["state"] == "ok")

        # Gone: what is in memory is still shown.
        gone = time.monotonic()
        for part in parts:
            part.stop()
        for part in ("store", "broker"):
            server.wait("/status", lambda s, part=part: s[part]["state"] == "error")
            print(f"{part} noticed {time.monotonic() - gone:.1f} s after both were asked to stop")
        assert server.json("/quotes")["items"][0]["price"] == 11.0
        assert len(server.json("/symbols/A/bars")["items"]) == 3
        assert server.get("/api/v1/symbols/B/bars")[0] == 503

        back = time.monotonic()
        for part in parts:
            part.start()
        for part in parts:
            part.wait_ready()
        sender.send(("A", 12.0))
        print(f"both are up {time.monotonic() - back:.1f} s after the start")
        server.wait("/quotes", lambda q: q["items"][0]["price"] == 12.0)
        print(f"prices move {time.monotonic() - back:.1f} s after it")
        assert server.json("/quotes")["items"][0]["volume"] == 200
        server.wait("/status", lambda s: s["broker"]["state"] == s["store"]["state"] == "ok")
        print(f"all is well {time.monotonic() - back:.1f} s after it")
        assert len(server.wait("/symbols/B/bars", lambda bars: True)["items"]) == 3
        assert server.stop() < 20


def test_a_catalog_that_is_away_and_comes_back(programs, stage_env, store_settings, tmp_path):
    """What needs no table goes on without it."""
    catalog = CatalogSettings(uri=f"sqlite:///{tmp_path}/later/catalog.db")
    with dashboard_running(programs, stage_env(TICKLAKE_CATALOG_URI=catalog.uri), tmp_path) as server:
        status = server.wait("/status", lambda s: s["store"]["state"] == "error")
        assert f"the catalog at {catalog.uri} does not answer" in status["store"]["detail"]
        for path in ("/symbols", "/symbols/A/bars", "/risk?symbols=A"):
            code, headers, body = server.get(f"/api/v1{path}")
            assert (code, headers["content-type"], headers["retry-after"]) == (503, "application/problem+json", "5")
            assert "the catalog at" in json.loads(body)["detail"]
        assert (server.json("/runs")["items"], server.json("/quarantine")["items"]) == ([], [])

        (tmp_path / "later").mkdir()
        put_daily(LakeTables(catalog, store_settings), {"A": dict.fromkeys(DAYS, 10.0)})
        assert len(server.wait("/symbols/A/bars", lambda bars: bars["items"])["items"]) == 3
        server.wait("/status", lambda s: s["store"]["state"] == "ok")
