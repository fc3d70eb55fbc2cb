"""The history as of every earlier night, through API, exports and command, against what was read that night."""

import csv
import io
import json
import subprocess
import urllib.parse
from datetime import UTC, datetime, timedelta

import nights
import numpy as np
import pyarrow.parquet as pq
import pytest
from dashboard_rig import dashboard_running
from nights import NIGHTS, SOURCE, answer, asked_at, record, traded

from ticklake import history
from ticklake.catalog import LakeTables
from ticklake.history_options import ADJUSTMENTS
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings

BUSY = traded(1, splits={10: 4.0, 22: 0.5}, dividends={5: 0.4, 15: 0.3, 24: 0.7})
STEADY = traded(2, splits={}, dividends={12: 1.25})
REVISED = {12: {8: 1.02}, 18: {8: 1.02, 3: 0.97}, 23: {3: 0.97}}
"""By night, the sessions that the source gives other prices for from then on, by their night and with the factor."""
WITHDRAWN = 20
"""The night from which on the source no longer has the dividend of night 15."""
EXPORTS = [
    *(f"bars?format={form}&adjust={adjust}" for adjust in ADJUSTMENTS for form in ("csv", "parquet")),
    "indicators?format=parquet",
    "indicators?format=csv&names=obv,volatility_20,fact_versions,adj_close",
]


def answers(day):
    """What the source answers on the night of `day`."""
    number = NIGHTS.index(day)
    revised = next((factors for since, factors in sorted(REVISED.items(), reverse=True) if since <= number), {})
    yield answer("BUSY", BUSY, day, revised=revised, without=15 if number >= WITHDRAWN else None)
    yield answer("STEADY", STEADY, day)


@pytest.fixture(scope="module")
def tables(local_platform, tmp_path_factory):
    store = local_platform.store.model_copy(update={"bucket": "as-of-nights"})
    ObjectStore(store).create_bucket()
    catalog = CatalogSettings(uri=f"sqlite:///{tmp_path_factory.mktemp('as-of')}/catalog.db")
    return LakeTables(catalog, store)


@pytest.fixture(scope="module")
def environment(local_platform, tables):
    return local_platform.stage_env() | {"TICKLAKE_STORE_BUCKET": "as-of-nights", "TICKLAKE_CATALOG_URI": tables.where}


@pytest.fixture(scope="module")
def server(environment, programs, tmp_path_factory):
    with dashboard_running(
        programs, environment, tmp_path_factory.mktemp("dashboard"), DASHBOARD_REFRESH_SECONDS="0.001"
    ) as running:
        yield running


def read(server, symbol, *asked):
    """The exports, by their names: what was read, and under which file name."""
    found = {}
    for export in EXPORTS if symbol == "BUSY" else EXPORTS[-3:-1]:
        status, headers, body = server.get(f"/api/v1/symbols/{symbol}/{export}{''.join(asked)}")
        assert status == 200, body
        found[export] = (headers["content-disposition"], body)
    return found


@pytest.fixture(scope="module")
def read_then(server, tables):
    """What was read each night without any further word: fast, where the table has it."""
    found, changes = {}, {}
    for day in NIGHTS:
        changes[NIGHTS.index(day)] = record(tables, *answers(day)).symbols
        found[day] = {symbol: read(server, symbol) for symbol in ("BUSY", "STEADY")}
    # Of the jitter nothing is left, and each planted change is there: those of night 12, 18 and 23, one session each.
    revised = {night: of["BUSY"].revised for night, of in changes.items() if of["BUSY"].revised}
    assert revised == {12: 1, 18: 1, 23: 1}
    assert sum(of["STEADY"].revised for of in changes.values()) == 0
    assert [night for night, of in changes.items() if of["BUSY"].actions_withdrawn] == [WITHDRAWN]
    assert [night for night, of in changes.items() if of["BUSY"].actions_new] == [5, 10, 15, 22, 24]
    return found


def test_each_night_reads_as_it_did(server, read_then):
    for number, day in enumerate(NIGHTS):
        moments = [f"{day}", f"{asked_at(day):%Y-%m-%dT%H:%M:%SZ}", f"{nights.after(asked_at(day)).isoformat()}"]
        at = urllib.parse.quote(moments[number % 3])
        for symbol in ("BUSY", "STEADY"):
            assert read(server, symbol, f"&as_of={at}") == read_then[day][symbol], (day, symbol)
    different = {read_then[day]["BUSY"][EXPORTS[1]][1] for day in NIGHTS}
    assert len(different) == len(NIGHTS)


def closes(server, symbol, **asked):
    answer = server.json(f"/symbols/{symbol}/bars?{urllib.parse.urlencode({'limit': '5000'} | asked)}")
    return {bar["session_date"]: bar["close"] for bar in answer["items"]}


def test_what_is_known_later_does_not_change_what_is_read_as_of_before(server, read_then):
    before, split = NIGHTS[9], NIGHTS[10]
    first = str(NIGHTS[0])
    as_traded = BUSY.close[nights.PLACE[NIGHTS[0]]]
    assert closes(server, "BUSY", as_of=before)[first] == pytest.approx(as_traded, rel=1e-6)
    assert closes(server, "BUSY", as_of=split)[first] == pytest.approx(as_traded / 4, rel=1e-6)
    assert closes(server, "BUSY", as_of=NIGHTS[22])[first] == pytest.approx(as_traded / 2, rel=1e-6)
    # Until a day: on that day's basis, but with the corrections since.
    revised = str(NIGHTS[3])
    then, until = (closes(server, "BUSY", **{name: str(before)}) for name in ("as_of", "until"))
    assert until[revised] == pytest.approx(then[revised] * 0.97, rel=1e-6)
    assert {day: close for day, close in until.items() if day not in (revised, str(NIGHTS[8]))} == {
        day: close for day, close in then.items() if day not in (revised, str(NIGHTS[8]))
    }
    answer = server.json(f"/symbols/BUSY/bars?until={before}&as_of={NIGHTS[20]}&adjust=none")
    assert (answer["adjust"], answer["as_of"], answer["until"]) == ("none", f"{NIGHTS[20]}T23:59:59.999Z", str(before))
    assert answer["known_at"] == f"{NIGHTS[18]}T22:30:00.000Z"


def local_bars(programs, environment, *arguments):
    return subprocess.run(
        [programs / "ticklake", "bars", *arguments], env=environment, capture_output=True, timeout=300, check=False
    )


@pytest.mark.parametrize("adjust", ADJUSTMENTS)
def test_command_export_and_api_give_equal_rows(server, read_then, tables, programs, environment, adjust):
    night = NIGHTS[17]
    body = read_then[night]["BUSY"][f"bars?format=parquet&adjust={adjust}"][1]
    done = local_bars(programs, environment, "BUSY", "--as-of", str(night), "--adjust", adjust, "--format", "parquet")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == body
    table = pq.read_table(io.BytesIO(body))
    given = history.bars(tables, "BUSY", SOURCE, as_of=asked_at(night), adjust=adjust)
    assert table.equals(given)
    items = server.json(f"/symbols/BUSY/bars?limit=5000&adjust={adjust}&as_of={night}")["items"]
    plain = table.drop_columns("known_at").to_pylist()
    assert items == [row | {"session_date": str(row["session_date"])} for row in plain]


def test_the_command_for_people_and_of_a_part(programs, environment, read_then):
    part = ("--from", str(NIGHTS[9]), "--to", str(NIGHTS[10]))
    done = local_bars(programs, environment, "busy", "--adjust", "none", "--csv", *part)
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["session_date"] for row in rows] == [str(NIGHTS[9]), str(NIGHTS[10])]
    assert [float(row["stock_splits"]) for row in rows] == [0, 4]
    done = local_bars(programs, environment, "BUSY", "--until", str(NIGHTS[10]), *part)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[-1] == (
        "2 sessions of BUSY from yahoo, adjusted for splits; the source's latest answer is of "
        f"{NIGHTS[23]}T22:30:00.000Z"
    )
    assert sum(str(NIGHTS[10]) in line for line in lines[:-1]) == 1


def test_compare_and_risk_as_of_a_night(server, read_then):
    night = NIGHTS[9]
    line = {
        item["symbol"]: [point["value"] for point in item["points"]]
        for item in server.json(f"/compare?symbols=BUSY,STEADY&sessions=20&as_of={night}")["items"]
    }
    then = pq.read_table(io.BytesIO(read_then[night]["BUSY"]["bars?format=parquet&adjust=all"][1]))["close"].to_numpy()
    np.testing.assert_allclose(line["BUSY"], then[-21:] / then[-21] * 100)
    answer = server.json(f"/risk?symbols=BUSY&sessions=20&as_of={night}&adjust=splits")
    assert (answer["adjust"], answer["items"][0]["to"]) == ("splits", str(night))
    plain = pq.read_table(io.BytesIO(read_then[night]["BUSY"]["bars?format=parquet&adjust=splits"][1]))["close"]
    returns = np.diff(plain.to_numpy()[-21:]) / plain.to_numpy()[-21:-1]
    assert answer["items"][0]["volatility_annualised"] == pytest.approx(returns.std(ddof=1) * 252**0.5)
    early = NIGHTS[0] - timedelta(days=1)
    assert server.json(f"/risk?as_of={early}")["items"] == []  # of the watchlist nothing was known: nobody asked


TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date()
WRONG = [
    ("BUSY", {"as_of": "yesterday"}, 422, "'yesterday' is neither a date like"),
    ("BUSY", {"as_of": "2024-03-01T10:00:00"}, 422, "has no offset"),
    ("BUSY", {"as_of": f"{TOMORROW}"}, 422, "in the future"),
    ("BUSY", {"as_of": "2024-01-01"}, 422, "nothing of BUSY was known at 2024-01-01T23:59:59.999Z; the first answer"),
    ("BUSY", {"until": "soon"}, 422, "'soon' is not a date"),
    ("BUSY", {"until": f"{TOMORROW}"}, 422, "in the future"),
    ("BUSY", {"until": "2023-12-29"}, 422, "the first session known of BUSY is 2024-01-01, after 2023-12-29"),
    ("BUSY", {"adjust": "dividends"}, 422, "adjust"),
    ("NEVER", {"as_of": "2024-04-01"}, 404, "no daily history of NEVER"),
    ("BUSY", {"source": "replay", "until": "2024-04-01"}, 404, "no daily history of BUSY from replay"),
]


@pytest.mark.parametrize(("symbol", "asked", "status", "says"), WRONG, ids=[str(each[:2]) for each in WRONG])
def test_what_is_wrong_is_reported_in_one_line(server, read_then, programs, environment, symbol, asked, status, says):
    found, headers, body = server.get(f"/api/v1/symbols/{symbol}/bars?{urllib.parse.urlencode(asked)}")
    detail = json.loads(body)["detail"]
    assert (found, headers["content-type"]) == (status, "application/problem+json")
    assert says in detail
    assert "\n" not in detail
    if "adjust" not in asked:
        for route in (f"symbols/{symbol}/indicators?", f"risk?symbols={symbol}&", f"compare?symbols={symbol}&"):
            assert server.get(f"/api/v1/{route}{urllib.parse.urlencode(asked)}")[0] == status, route
    words = [part for name, value in asked.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = local_bars(programs, environment, symbol, *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith("ticklake")
    assert done.stderr.decode().count("\n") == 1
    assert says in done.stderr.decode()


def test_a_catalog_that_is_away(programs, environment, tmp_path, read_then):
    away = environment | {"TICKLAKE_CATALOG_URI": "postgresql://127.0.0.1:9/catalog", "TICKLAKE_CATALOG_USER": "u"}
    done = local_bars(programs, away, "BUSY", "--as-of", str(NIGHTS[9]))
    assert (done.returncode, done.stdout) == (1, b"")
    assert "the catalog at postgresql://127.0.0.1:9/catalog does not answer" in done.stderr.decode()
    assert done.stderr.decode().count("\n") == 1
    nowhere = environment | {"TICKLAKE_STORE_ENDPOINT": "http://127.0.0.1:9", "TICKLAKE_STORE_TIMEOUT_SECONDS": "1"}
    done = local_bars(programs, nowhere, "BUSY", "--as-of", str(NIGHTS[9]))
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert done.stderr.startswith(b"ticklake: the store ")
    with dashboard_running(programs, away, tmp_path) as server:
        status, _, body = server.get(f"/api/v1/symbols/BUSY/bars?as_of={NIGHTS[9]}")
        assert status == 503
        assert "the catalog at" in json.loads(body)["detail"]
