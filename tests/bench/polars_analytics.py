"""The same indicators by Polars and TA-Lib in one process: bars out of the table, one Parquet file into the store."""

from typing import Any

import numpy as np
import polars as pl

from ticklake.catalog import LakeTables
from ticklake.indicators import TRADING_YEAR, indicators
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import DAILY_BARS

store = StoreSettings()
options: dict[str, Any] = {
    "aws_endpoint_url": store.endpoint,
    "aws_allow_http": "true",
    "aws_region": store.region,
    "aws_access_key_id": store.access_key.get_secret_value() if store.access_key else None,
    "aws_secret_access_key": store.secret_key.get_secret_value() if store.secret_key else None,
}
table = LakeTables(CatalogSettings(), store)._load("market_test", DAILY_BARS)
bars = pl.scan_iceberg(table, reader_override="native", storage_options=options).collect()
parts = []
for _, rows in bars.sort("symbol", "session_date").group_by("symbol", maintain_order=True):
    adjusted = rows.with_columns(pl.col(name).alias(f"adj_{name}") for name in ("open", "high", "low", "close"))
    parts.append(pl.from_arrow(indicators(adjusted.to_arrow())))
close = pl.col("adj_close")
(
    pl.concat(parts)
    .with_columns(
        history_sessions=pl.int_range(1, pl.len() + 1).over("symbol"),
        change=close.diff().over("symbol"),
        change_pct=close.pct_change().over("symbol") * 100,
        log_return=close.log().diff().over("symbol"),
        drawdown=(close / close.cum_max() - 1).over("symbol"),
    )
    .with_columns(volatility_20=pl.col("log_return").rolling_std(20).over("symbol") * np.sqrt(TRADING_YEAR))
    .write_parquet(f"s3://{store.bucket}/polars.parquet", storage_options=options)
)
