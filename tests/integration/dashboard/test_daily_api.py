"""The API over a lake that the real batch programs filled, compared with the table itself row by row."""

import csv
import io
import json
import urllib.parse
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from dashboard_rig import Dashboard, FilledLake, dashboard_running

from dashboard.lake.daily_history import NUMERIC
from fetch_historical.recordings import adjust, recorded
from ticklake.pipeline import BATCH_STAGES
from ticklake.tables import DAILY_ANALYTICS


@pytest.fixture(scope="module")
def server(filled_lake, local_platform, programs, tmp_path_factory):
    environment = local_platform.stage_env() | filled_lake.env
    with dashboard_running(programs, environment, tmp_path_factory.mktemp("dashboard")) as running:
        yield running


@pytest.fixture(scope="module")
def stored(filled_lake: FilledLake) -> pd.DataFrame:
    """The rows of the table, read with nothing of the dashboard's."""
    rows = filled_lake.tables.read("market_test", DAILY_ANALYTICS).to_pandas()
    return rows.sort_values(["symbol", "session_date"])


def pages(server: Dashboard, path: str, **parameters: str) -> list[dict]:
    found, cursor = [], None
    for _ in range(50):
        query = urllib.parse.urlencode(parameters | ({"cursor": cursor} if cursor else {}))
        answer = server.json(f"{path}?{query}")
        found.append(answer["items"])
        cursor = answer["next_cursor"]
        if cursor is None:
            return found
    raise AssertionError("the pages do not end")


def test_symbols(server, stored, filled_lake):
    items = server.json("/symbols")["items"]
    assert [item["symbol"] for item in items] == sorted(filled_lake.symbols)
    for item in items:
        mine = stored[stored["symbol"] == item["symbol"]]
        assert item == {
            "symbol": item["symbol"],
            "source": "replay",
            "first_session": str(mine["session_date"].min()),
            "last_session": "2013-03-01",
            "sessions": len(mine),
            "last_close": mine["close"].iloc[-1],
            "live": False,
        }


@pytest.mark.parametrize("adjust", ["splits", "all"])
def test_bars_are_the_stored_rows(server, stored, adjust):
    answer = server.json(f"/symbols/AAPL/bars?limit=5000&adjust={adjust}")
    mine = stored[stored["symbol"] == "AAPL"]
    assert (answer["source"], answer["adjust"], answer["next_cursor"]) == ("replay", adjust, None)
    assert datetime.fromisoformat(answer["known_at"]) == mine["known_at"].iloc[0] == mine["known_at"].iloc[-1]
    assert len(answer["items"]) == len(mine) > 240
    prefix = "adj_" if adjust == "all" else ""
    for item, (_, row) in zip(answer["items"], mine.iterrows(), strict=True):
        assert item == {
            "session_date": str(row["session_date"]),
            "volume": row["volume"],
            "dividends": row["dividends"],
            "stock_splits": row["stock_splits"],
            **{name: row[prefix + name] for name in ("open", "high", "low", "close")},
        }


def test_bars_agree_with_the_recording_itself(server):
    bars = {bar["session_date"]: bar for bar in server.json("/symbols/IBM/bars?limit=5000")["items"]}
    known = adjust(recorded()["IBM"].until(date(2013, 3, 1)))
    checked = 0
    for place, day in enumerate(known.sessions):
        if str(day) in bars:
            bar = bars[str(day)]
            assert (bar["open"], bar["close"], bar["volume"]) == (
                known.open[place],
                known.close[place],
                known.volume[place],
            )
            checked += 1
    assert checked == len(bars) > 240


def test_the_table_has_what_the_facts_give(server):
    """The answers without a further word, which come from the table, against those of today's knowledge."""
    now = f"&as_of={datetime.now(UTC).date()}"
    for symbol in ("AAPL", "IBM", "MSFT"):
        for asked in ("adjust=splits&format=parquet", "adjust=all&format=parquet", "adjust=none&format=csv"):
            path = f"/api/v1/symbols/{symbol}/bars?{asked}"
            assert server.get(path)[2] == server.get(path + now)[2], asked
        path = f"/api/v1/symbols/{symbol}/indicators?format=parquet&names={','.join(NUMERIC)}"
        table, facts = (pq.read_table(io.BytesIO(server.get(each)[2])) for each in (path, path + now))
        assert table.num_rows > 240
        for name in table.column_names:
            if name in ("log_return", "volatility_20"):
                pd.testing.assert_series_equal(table[name].to_pandas(), facts[name].to_pandas(), rtol=1e-9)
            else:
                assert table[name].equals(facts[name]), name


def test_pages_go_back_from_the_newest_and_forward_from_a_date(server, stored):
    days = [str(day) for day in stored[stored["symbol"] == "MSFT"]["session_date"]]
    back = pages(server, "/symbols/MSFT/bars", limit="60")
    assert [bar["session_date"] for page in reversed(back) for bar in page] == days
    assert [len(page) for page in back[:-1]] == [60] * (len(back) - 1)
    first, last = days[10], days[150]
    forward = pages(server, "/symbols/MSFT/bars", **{"limit": "50", "from": first, "to": last})
    assert [bar["session_date"] for page in forward for bar in page] == days[10:151]
    assert [len(page) for page in forward] == [50, 50, 41]
    assert server.json("/symbols/MSFT/bars?from=2030-01-01")["items"] == []


def test_indicators_are_the_stored_columns_and_null_where_they_have_no_value(server, stored):
    answer = server.json("/symbols/AAPL/indicators?names=sma_20,rsi_14,macd_hist,volatility_20&limit=5000")
    mine = stored[stored["symbol"] == "AAPL"]
    assert answer["names"] == ["sma_20", "rsi_14", "macd_hist", "volatility_20"]
    for name in answer["names"]:
        expected = [None if np.isnan(value) else value for value in mine[name]]
        assert [item[name] for item in answer["items"]] == expected
        assert expected.count(None) < 40
    assert answer["items"][5]["sma_20"] is None


def test_downloads_hold_the_same_rows(server, stored):
    mine = stored[stored["symbol"] == "AAPL"]
    status, headers, body = server.get("/api/v1/symbols/AAPL/bars?format=csv&limit=1")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    name = f"AAPL-replay-bars-{mine['session_date'].min()}-2013-03-01.csv"
    assert headers["content-disposition"] == f'attachment; filename="{name}"'
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert [float(row["close"]) for row in rows] == list(mine["close"])
    assert [row["session_date"] for row in rows] == [str(day) for day in mine["session_date"]]
    _, headers, body = server.get("/api/v1/symbols/AAPL/indicators?format=parquet&names=sma_50&from=2012-09-04")
    table = pq.read_table(io.BytesIO(body)).to_pandas()
    expected = mine[mine["session_date"] >= date(2012, 9, 4)]
    pd.testing.assert_series_equal(table["sma_50"], expected["sma_50"].reset_index(drop=True))
    assert headers["content-disposition"].endswith('AAPL-replay-indicators-2012-09-04-2013-03-01.parquet"')


def test_risk_by_pandas(server, stored):
    answer = server.json("/risk?symbols=AAPL,IBM,MSFT&sessions=100")
    closes = stored.pivot_table(index="session_date", columns="symbol", values="adj_close").tail(101)
    returns = closes.pct_change().dropna()
    for item in answer["items"]:
        mine, prices = returns[item["symbol"]], closes[item["symbol"]]
        assert (item["from"], item["to"], item["sessions"]) == (str(closes.index[0]), "2013-03-01", 100)
        assert item["volatility_annualised"] == pytest.approx(mine.std() * 252**0.5)
        fall = prices / prices.cummax() - 1
        assert item["max_drawdown"] == pytest.approx(fall.min())
        assert item["current_drawdown"] == pytest.approx(fall.iloc[-1])
        worst = sorted(-mine, reverse=True)
        # Of 100 losses, 95 are at most the sixth worst, 99 at most the second worst.
        assert item["value_at_risk_95"] == pytest.approx(worst[5])
        assert item["value_at_risk_99"] == pytest.approx(worst[1])
        assert item["expected_shortfall_95"] == pytest.approx(np.mean(worst[:5]))
        assert (item["best_day"], item["worst_day"]) == (pytest.approx(mine.max()), pytest.approx(mine.min()))
    found = np.array(answer["correlation"]["matrix"], float)
    np.testing.assert_allclose(found, returns[["AAPL", "IBM", "MSFT"]].corr().to_numpy(), atol=1e-12)
    assert answer["correlation"]["sessions"] == 100


def test_compare_starts_at_100_and_moves_as_the_prices_do(server, stored):
    answer = server.json("/compare?symbols=IBM,MSFT&sessions=30")
    closes = stored.pivot_table(index="session_date", columns="symbol", values="adj_close").tail(31)
    for item in answer["items"]:
        expected = closes[item["symbol"]] / closes[item["symbol"]].iloc[0] * 100
        assert [point["value"] for point in item["points"]] == pytest.approx(list(expected))
        assert [point["session_date"] for point in item["points"]] == [str(day) for day in closes.index]


def test_a_run_with_its_stages_and_lineage(server, stored, filled_lake):
    (item,) = server.json("/runs")["items"]
    rows = len(stored)
    assert (item["run_id"], item["batch_date"], item["source"]) == (filled_lake.run_id, "2013-03-01", "replay")
    assert (item["state"], item["reconciled"], item["stages_done"], item["stages_total"]) == ("succeeded", True, 7, 7)
    assert (item["rows_in"], item["rows_out"], item["quarantined"]) == (rows, rows, 0)
    assert item["failures"] == []
    run = server.json(f"/runs/{filled_lake.run_id}")
    assert {name: run[name] for name in item} == item
    assert [stage["stage"] for stage in run["stages"]] == [stage.program for stage in BATCH_STAGES]
    assert {stage["rows_out"] for stage in run["stages"]} == {rows}
    checks = [check for stage in run["stages"] for check in stage["checks"]]
    assert len(checks) > 5
    assert all(check["passed"] for check in checks)
    assert {symbol["symbol"]: symbol["rows"] for symbol in run["symbols"]} == dict(stored["symbol"].value_counts())
    for symbol in run["symbols"]:
        places = {symbol[place] for place in ("new", "facts", "analytics", "warehouse")}
        assert (places, symbol["unchanged"], symbol["revised"]) == ({symbol["rows"]}, 0, 0)
    graph = run["lineage"]
    kinds = [node["kind"] for node in graph["nodes"] if node["kind"] != "stage"]
    assert kinds == ["source", "topic", "object_group", "table", "table", "table"]
    ids = {node["id"] for node in graph["nodes"]}
    assert {end for edge in graph["edges"] for end in (edge["from"], edge["to"])} == ids
    assert {edge["rows"] for edge in graph["edges"]} == {rows}
    assert server.get("/api/v1/runs/none-such")[0] == 404


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/symbols/ZZZZ/bars", 404, "no daily history of ZZZZ"),
        ("/symbols/AAPL/bars?source=yahoo", 404, "from yahoo"),
        ("/symbols/not%20one/bars", 422, "symbol"),
        ("/symbols/AAPL/bars?limit=5001", 422, "limit"),
        ("/symbols/AAPL/bars?from=yesterday", 422, "from"),
        ("/symbols/AAPL/bars?cursor=abc", 422, "cursor"),
        ("/symbols/AAPL/bars?cursor=WyJhZnRlciIsIDFd", 422, "cursor"),
        ("/symbols/AAPL/indicators?names=sma_21", 422, "no column 'sma_21'"),
        ("/symbols/AAPL/indicators?names=batch_id", 422, "no column 'batch_id'"),
        ("/symbols/AAPL/ticks", 404, "no ticks"),
        ("/symbols/ZZZZ/windows", 404, "no windows"),
        ("/risk?symbols=,", 422, "1 to 30"),
        ("/risk?symbols=AAPL&sessions=1", 422, "sessions"),
        ("/nothing", 404, "Not Found"),
    ],
)
def test_errors_are_problems(server, path, status, says):
    found, headers, body = server.get(f"/api/v1{path}")
    problem = json.loads(body)
    assert (found, headers["content-type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["type"]) == (status, "about:blank")
    assert says in problem["detail"]


def test_lag_of_the_batch_group_is_none_after_a_run(server):
    items = [item for item in server.json("/lag")["items"] if item["topic"] == "stock_market_batch"]
    assert len(items) == 3
    assert all(item["lag"] == 0 for item in items if item["position"] is not None)
    assert all((item["state"] == "committed") == (item["position"] is not None) for item in items)
    assert any(item["position"] for item in items)


def test_the_api_describes_itself(server):
    described = server.json("/openapi.json")
    assert described == json.loads(server.get("/openapi.json")[2])
    paths = described["paths"]
    assert {"/api/v1/status", "/api/v1/stream", "/api/v1/risk", "/api/v1/symbols/{symbol}/bars"} <= set(paths)
    assert all(set(operations) == {"get"} for operations in paths.values())
    bar = described["components"]["schemas"]["Bar"]["properties"]
    asked = {each["name"] for each in paths["/api/v1/symbols/{symbol}/bars"]["get"]["parameters"]}
    assert {"as_of", "until", "adjust"} <= asked
    assert bar["volume"]["description"] == "Shares traded, adjusted for splits unless `adjust` is none"


def test_metrics_name_the_routes(server):
    server.json("/symbols")
    text = server.metrics()
    assert 'ticklake_dashboard_request_duration_seconds_count{route="/api/v1/symbols",status="200"}' in text
    assert "ticklake_dashboard_store_up 1.0" in text
