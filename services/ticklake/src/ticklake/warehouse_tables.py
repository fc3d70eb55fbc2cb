"""Names of the warehouse's schemas, tables and views."""

from ticklake.records import Source

SCHEMA_YAHOO = "MARKET"
SCHEMA_OTHER = "MARKET_TEST"
"""Rows that are not from Yahoo go to a schema of their own, so that nothing simulated mixes with the real."""
BARS_TABLE = "DAILY_BARS"
ACTIONS_TABLE = "CORPORATE_ACTIONS"
DAILY_TABLE = "DAILY_ANALYTICS"
ADJUSTED_PRICES_VIEW = "ADJUSTED_PRICES"
WINDOWS_TABLE = "WINDOW_ANALYTICS"
LIVE_BARS_TABLE = "BARS"
AUDIT_TABLE = "LOAD_AUDIT"


def schema_of(source: Source) -> str:
    """The schema for rows from `source`: nothing recorded or simulated is stored beside the real."""
    return SCHEMA_YAHOO if source.is_real else SCHEMA_OTHER
