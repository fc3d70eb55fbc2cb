"""Five batches in many orders, through Spark and into the warehouse: the same tables every time."""

import itertools
from datetime import date

import pandas as pd
import pytest
import snowflake.connector

from load_warehouse.settings import LoadSettings
from load_warehouse.stage import load_run
from ticklake import lineage
from ticklake.batch_stage import Run
from ticklake.facts import ACTION_KEY, BAR_KEY, in_force
from ticklake.tables import CORPORATE_ACTIONS, DAILY_BARS

PROVISIONAL, BEFORE, SPLIT, DIVIDEND, LATER = (date(2003, 2, day) for day in (13, 14, 18, 19, 21))
"""Around MSFT's split 2:1 and its first dividend, of 0.08."""
STAMPS = ["symbol", "row_hash", "batch_id", "batch_date", "known_at", "fact_versions", "change"]
"""They depend on the symbol's name, and of the way to a state, which differs by order."""


def provisional(bars):
    """The last close a tenth too high."""
    bars = bars.copy()
    bars.loc[bars.index[-1], ["high", "close"]] *= 1.1
    return bars


def early(bars):
    return bars[bars["session_date"] < "2002-12-20"]


BATCHES = (
    (PROVISIONAL, date(2002, 11, 1), provisional),
    (BEFORE, date(2002, 11, 15), None),
    (SPLIT, date(2002, 11, 1), None),
    (DIVIDEND, date(2002, 12, 2), None),
    (LATER, date(2002, 10, 1), early),
)
"""Date, first session and what is odd of each; the last one fills history up that the others do not have."""
ORDERS = {f"O{number}": order for number, order in enumerate(list(itertools.permutations(range(len(BATCHES))))[::5])}
"""By the name that the symbol has in this order; every batch is at every place. Facts alone are tried in all 120."""


@pytest.mark.timeout(1500)
def test_orders_of_batches_give_the_same_tables(
    recorded, process, stored, tables, store, store_settings, catalog_settings, warehouse_settings
):
    load = LoadSettings(
        store=store_settings, catalog=catalog_settings, warehouse=warehouse_settings, code_version="test"
    )
    for step, number in itertools.product(range(len(BATCHES)), range(len(BATCHES))):
        day, first, odd = BATCHES[number]
        run_id = f"step {step} batch {number}"
        symbols = tuple(symbol for symbol, order in ORDERS.items() if order[step] == number)
        assert symbols
        recorded(run_id, day, first, "MSFT", under=symbols, **({"change": odd} if odd else {}))
        lineage.write(store, process(run_id, day))
        lineage.write(store, load_run(load, Run(run_id, day))[0])

    bars = the_same(in_force(tables.read("market_test", DAILY_BARS).to_pandas(), BAR_KEY))
    actions = the_same(in_force(tables.read("market_test", CORPORATE_ACTIONS).to_pandas(), ACTION_KEY), "ex_date")
    rows = the_same(stored())
    assert (len(bars), list(actions["value"])) == (len(rows), [2.0, pytest.approx(0.08)])
    basis = rows.set_index("session_date")
    assert (basis["stock_splits"][SPLIT], basis["dividends"][DIVIDEND]) == (2.0, pytest.approx(0.08))
    assert (basis["close"].pct_change().iloc[1:].abs() < 0.2).all()
    with snowflake.connector.connect(
        account="other",
        user="other",
        password="other",
        host=warehouse_settings.host,
        port=warehouse_settings.port,
        protocol="http",
    ) as connection:

        def read(table):
            cursor = connection.cursor().execute(f"select * from {warehouse_settings.database}.MARKET_TEST.{table}")
            names = [each.name.lower() for each in cursor.description]
            return pd.DataFrame.from_records(cursor.fetchall(), columns=names)

        for found, lake in (
            (the_same(read("DAILY_ANALYTICS")), rows),
            (the_same(read("ADJUSTED_PRICES")), rows),
            (the_same(in_force(read("DAILY_BARS"), BAR_KEY)), bars),
            (the_same(in_force(read("CORPORATE_ACTIONS"), ACTION_KEY), "ex_date"), actions),
        ):
            names = [name for name in found if name in lake]
            assert len(names) > 3
            pd.testing.assert_frame_equal(found[names], lake[names], check_exact=True, check_dtype=False)


def the_same(rows, by="session_date"):
    """The rows of one order, after all others were found to have the same."""
    parts = {
        symbol: part.drop(columns=STAMPS, errors="ignore").reset_index(drop=True)
        for symbol, part in rows.sort_values(["symbol", by]).groupby("symbol")
    }
    assert set(parts) == set(ORDERS)
    one = next(iter(parts.values()))
    for symbol, part in parts.items():
        pd.testing.assert_frame_equal(part, one, check_exact=True, obj=f"{symbol} {ORDERS[symbol]}")
    return one
