"""The stream against the real broker: what it sends, when it ends, what it says."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest
from kafka import TopicPartition
from own_servers import PasswordBroker
from waiting import ENDS_SECONDS, wait_until

from stream_ticks.simulator import Start
from stream_ticks.start_prices import DEFAULTS, find_starts
from ticklake import kafka
from ticklake.catalog import LakeTables, matching
from ticklake.records import Source, Tick
from ticklake.settings import CatalogSettings, KafkaSettings, LiveSettings, StoreSettings
from ticklake.tables import DAILY_ANALYTICS, arrow_schema, namespace_of
from ticklake.topics import live_topics
from ticklake_local import platform

Environment = Callable[..., dict[str, str]]
SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "NVDA", "INTC")


def read(settings: KafkaSettings, topic: str) -> list[Any]:
    consumer = kafka.make_consumer(settings, "test", auto_offset_reset="earliest")
    places = [TopicPartition(topic, number) for number in range(4)]
    consumer.assign(places)
    due, found = sum(consumer.end_offsets(places).values()), list[Any]()
    while len(found) < due:
        found += [record for records in consumer.poll(timeout_ms=2000).values() for record in records]
    consumer.close()
    return found


def run(programs: Path, environment: dict[str, str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [programs / "stream-ticks"], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def test_an_accelerated_run_sends_the_same_ticks_each_time(
    stage_env: Environment, programs: Path, kafka_settings: KafkaSettings, live: LiveSettings
) -> None:
    environment = stage_env(
        TICKLAKE_METRICS_PORT="0",
        TICKLAKE_STREAM_SPEED_UP="600",
        TICKLAKE_STREAM_INTERVAL="6",
        TICKLAKE_STREAM_START_EVENT_TIME="2026-01-30T15:00:00Z",
        TICKLAKE_STREAM_DURATION_EVENT_SECONDS="600",
    )
    for run_name in ("one", "two"):
        done = run(programs, environment | {"TICKLAKE_STREAM_PRODUCER_RUN": run_name})
        assert done.returncode == 0, done.stderr + done.stdout
        assert '"source": "simulated"' in done.stdout
    ticks = [Tick.model_validate_json(record.value) for record in read(kafka_settings, live.names.topic)]
    assert len(ticks) == 2 * 8 * 100
    begin = datetime(2026, 1, 30, 15, tzinfo=UTC)
    by_run = {
        name: {(t.symbol, t.sequence): (t.price, t.volume, t.event_time) for t in ticks if t.producer_run == name}
        for name in ("one", "two")
    }
    assert by_run["one"] == by_run["two"]
    assert by_run["one"].keys() == {(symbol, n) for symbol in SYMBOLS for n in range(100)}
    assert all(at == begin + timedelta(seconds=6 * n) for (_, n), (_, _, at) in by_run["one"].items())
    for record in read(kafka_settings, live.names.topic):
        tick = Tick.model_validate_json(record.value)
        assert (record.key, record.value) == (tick.symbol.encode(), tick.model_dump_json().encode())
        assert tick.source is Source.SIMULATED


def test_sigterm_ends_with_everything_confirmed(
    stage_env: Environment, programs: Path, kafka_settings: KafkaSettings, live: LiveSettings
) -> None:
    port = _free_port()
    environment = stage_env(TICKLAKE_METRICS_PORT=str(port), TICKLAKE_STREAM_RATE="2000")
    with subprocess.Popen([programs / "stream-ticks"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: read(kafka_settings, live.names.topic))
        assert _get(port, "/readyz") == "ok\n"
        assert 'ticklake_stream_ticks_ticks_total{source="simulated",symbol="AAPL"}' in _get(port, "/metrics")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=ENDS_SECONDS)
        assert process.returncode == 0, output
    lines = [json.loads(line) for line in output.splitlines()]
    [confirmed] = [line["ticks"] for line in lines if line["event"] == "all ticks are confirmed"]
    records = read(kafka_settings, live.names.topic)
    assert len(records) == confirmed
    keys = {(t.symbol, t.sequence) for t in (Tick.model_validate_json(r.value) for r in records)}
    assert len(keys) == confirmed
    newest = max(Tick.model_validate_json(r.value).event_time for r in records)
    assert abs(datetime.now(UTC) - newest) < timedelta(seconds=15)


HANGING_NAMES = """
import os, socket, time
real = socket.getaddrinfo
def getaddrinfo(*args, **more):
    while os.path.exists(os.environ["NAMES_HANG"]):
        time.sleep(0.1)
    return real(*args, **more)
socket.getaddrinfo = getaddrinfo
"""
"""A module that the program imports at its start: names have no answer while there is a file."""


def test_a_stop_while_kafka_is_away_is_one_line(
    stage_env: Environment, programs: Path, local_tools: platform.Tools, tmp_path: Path
) -> None:
    names, hang, port = LiveSettings(namespace="away").names, tmp_path / "hang", _free_port()
    (tmp_path / "sitecustomize.py").write_text(HANGING_NAMES)
    broker = PasswordBroker(local_tools, tmp_path)
    broker.start_again()
    try:
        kafka.ensure_topics(broker.settings, live_topics(names))
        environment = stage_env(
            TICKLAKE_KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers,
            TICKLAKE_LIVE_NAMESPACE="away",
            TICKLAKE_METRICS_PORT=str(port),
            TICKLAKE_STREAM_RATE="200",
            PYTHONPATH=os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
            NAMES_HANG=str(hang),
        )
        with subprocess.Popen(
            [programs / "stream-ticks"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_until(lambda: read(broker.settings, names.topic), alive=lambda: process.poll() is None)
            # As in a cluster whose DNS is away too: the library's thread hangs, and does not end with its client.
            hang.touch()
            broker.kill()
            wait_until(lambda: int(re.findall(r"ticks_unconfirmed (\d+)", _get(port, "/metrics"))[0]) > 100)
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=ENDS_SECONDS)
        assert (process.returncode, errors.count("\n")) == (1, 1), output + errors
        assert "Kafka does not answer" in errors
        assert time.monotonic() - asked < 20
    finally:
        broker.stop()


def test_an_absent_broker_and_contradictions_are_one_line(
    stage_env: Environment, programs: Path, live: LiveSettings
) -> None:
    for change, code, message in (
        ({"TICKLAKE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "TICKLAKE_KAFKA_TIMEOUT_SECONDS": "2"}, 1, "127.0.0.1:1"),
        ({"TICKLAKE_LIVE_NAMESPACE": "", "TICKLAKE_STREAM_SPEED_UP": "2"}, 2, "TICKLAKE_LIVE_NAMESPACE"),
        ({"TICKLAKE_STREAM_RATE": "0"}, 2, "TICKLAKE_STREAM_RATE"),
    ):
        done = run(programs, stage_env(TICKLAKE_METRICS_PORT="0") | change)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert message in done.stderr


class Quotes(BaseHTTPRequestHandler):
    """GLOBAL_QUOTE as Alpha Vantage answers it: IBM moves, MSFT does not, NOPE is unknown."""

    count = 0

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        symbol = query["symbol"][0]
        type(self).count += 1
        moved = type(self).count if symbol == "IBM" else 0
        answer: dict[str, Any] = {"Global Quote": {}}
        if query["apikey"] == ["wrong"]:
            answer = {"Error Message": "the parameter apikey is invalid or missing."}
        elif symbol != "NOPE":
            answer = {
                "Global Quote": {
                    "01. symbol": symbol,
                    "05. price": f"{100 + moved}.5000",
                    "06. volume": str(1000 + moved),
                    "07. latest trading day": "2026-01-30",
                }
            }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def quotes() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Quotes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/query"
        server.shutdown()


def test_alpha_vantage_quotes_become_ticks(
    stage_env: Environment, programs: Path, kafka_settings: KafkaSettings, live: LiveSettings, quotes: str
) -> None:
    environment = stage_env(
        TICKLAKE_METRICS_PORT="0",
        TICKLAKE_ALPHA_VANTAGE_BASE_URL=quotes,
        TICKLAKE_ALPHA_VANTAGE_API_KEY="SECRETKEY",
        TICKLAKE_ALPHA_VANTAGE_SPACING_SECONDS="0.05",
        TICKLAKE_ALPHA_VANTAGE_MINUTE_LIMIT="1000000",
        TICKLAKE_ALPHA_VANTAGE_DAILY_LIMIT="10000000",
        TICKLAKE_STREAM_SYMBOLS="IBM,MSFT,NOPE",
        TICKLAKE_STREAM_INTERVAL="0.1",
        TICKLAKE_STREAM_MAX_TICKS="5",
        TICKLAKE_LOG_LEVEL="DEBUG",
    )
    done = run(programs, environment)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "SECRETKEY" not in done.stdout + done.stderr
    assert "does not know this symbol" in done.stdout
    ticks = [Tick.model_validate_json(record.value) for record in read(kafka_settings, live.names.topic)]
    assert sorted((t.symbol, t.sequence) for t in ticks) == [
        ("IBM", 0),
        ("IBM", 1),
        ("IBM", 2),
        ("IBM", 3),
        ("MSFT", 0),
    ]
    assert {t.source for t in ticks} == {Source.ALPHA_VANTAGE}
    assert {t.volume for t in ticks if t.sequence == 0} == {0}

    wrong = run(programs, environment | {"TICKLAKE_ALPHA_VANTAGE_API_KEY": "wrong"})
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "TICKLAKE_ALPHA_VANTAGE_API_KEY" in wrong.stderr


NIGHT = date(2026, 1, 30)
PLAIN = {"string": "x", "date": NIGHT, "timestamp": datetime(2026, 1, 30, 22, tzinfo=UTC), "double": 1.0}


@pytest.fixture
def tables(catalog_settings: CatalogSettings, store_settings: StoreSettings) -> LakeTables:
    return LakeTables(catalog_settings, store_settings)


def put(tables: LakeTables, symbol: str, source: Source, closes: list[tuple[date, float, float | None]]) -> None:
    """All rows of a symbol: session, close and volatility."""
    rows = [
        {column.name: PLAIN.get(column.type, 1) for column in DAILY_ANALYTICS.columns}
        | {"symbol": symbol, "source": source.value, "session_date": day, "close": close, "volatility_20": volatility}
        for day, close, volatility in closes
    ]
    table = pa.Table.from_pylist(rows, arrow_schema(DAILY_ANALYTICS.columns))
    tables.ensure(namespace_of(source), DAILY_ANALYTICS)
    where = matching(symbol=[symbol], source=[source.value])
    tables.replace(namespace_of(source), DAILY_ANALYTICS, "run", table, where)


def test_prices_start_at_the_last_closes_in_the_lake(tables: LakeTables) -> None:
    assert find_starts(tables, ["AAPL", "XYZ"]) == [DEFAULTS["AAPL"], Start(100.0, 0.30)]
    before = NIGHT - timedelta(days=1)
    put(tables, "AAPL", Source.YAHOO, [(NIGHT, 222.0, 0.25), (before, 111.0, 0.1)])
    put(tables, "AAPL", Source.REPLAY, [(NIGHT + timedelta(days=1), 9.0, 0.5)])
    put(tables, "IBM", Source.REPLAY, [(before, 7.0, 0.5), (NIGHT, 8.0, None)])
    put(tables, "IBM", Source.SIMULATED, [(NIGHT, 5.0, 0.1)])
    put(tables, "XYZ", Source.SIMULATED, [(NIGHT, 6.0, 0.2)])
    # The real one's first, then the recorded one's; a last row without a volatility takes the built-in one.
    assert find_starts(tables, ["MSFT", "AAPL", "IBM", "XYZ"]) == [
        DEFAULTS["MSFT"],
        Start(222.0, 0.25),
        Start(8.0, 0.30),
        Start(6.0, 0.2),
    ]


def test_a_lake_that_is_away_or_none_is_no_error(store_settings: StoreSettings) -> None:
    away = LakeTables(CatalogSettings(uri=f"postgresql://127.0.0.1:{_free_port()}/catalog"), store_settings)
    for tables in (away, None):
        assert find_starts(tables, ["AAPL"]) == [DEFAULTS["AAPL"]]


@pytest.mark.parametrize("catalog", [True, False])
def test_the_program_takes_its_prices_from_the_catalog_that_it_is_given(
    stage_env: Environment, programs: Path, live: LiveSettings, tables: LakeTables, catalog: bool
) -> None:
    put(tables, "AAPL", Source.SIMULATED, [(NIGHT, 222.0, 0.25)])
    environment = stage_env(
        TICKLAKE_METRICS_PORT="0",
        TICKLAKE_STREAM_MAX_TICKS="1",
        TICKLAKE_STREAM_SYMBOLS="AAPL",
        **({} if catalog else {"TICKLAKE_CATALOG_URI": ""}),
    )
    done = run(programs, environment)
    assert done.returncode == 0, done.stderr + done.stdout
    (line,) = [line for line in map(json.loads, done.stdout.splitlines()) if line["event"] == "prices start"]
    assert (line["from_lake"], line["built_in"]) == ((["AAPL"], []) if catalog else ([], ["AAPL"]))


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
        return str(answer.read().decode())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
