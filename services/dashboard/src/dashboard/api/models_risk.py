"""What the routes over risk and comparison answer; fractions of 1 unless a name says otherwise."""

from datetime import date

from pydantic import ConfigDict, Field

from dashboard.api.models import AsKnown, Model
from ticklake.history_options import Adjust


class RiskItem(Model):
    """Risk of holding one symbol, from daily simple returns on adjusted closes; fractions of 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    symbol: str
    source: str
    from_: date | None = Field(alias="from", description="Session of the first close")
    to: date | None = Field(description="Session of the last close")
    sessions: int = Field(description="Returns")
    volatility_annualised: float | None
    max_drawdown: float | None = Field(description="0 or below")
    current_drawdown: float | None = Field(description="0 or below")
    value_at_risk_95: float | None = Field(description="One day, historical simulation; positive is a loss")
    value_at_risk_99: float | None = Field(description="One day, historical simulation; positive is a loss")
    expected_shortfall_95: float | None = Field(description="Mean loss in the worst 5 % of days; positive is a loss")
    best_day: float | None
    worst_day: float | None


class Correlation(Model):
    """Pearson correlation of daily simple returns over the sessions that all symbols have."""

    symbols: list[str]
    matrix: list[list[float | None]] = Field(description="Row and column order as in `symbols`; null where undefined")
    sessions: int = Field(description="Returns in common")


class Risk(AsKnown):
    """Risk of each symbol and how they move together."""

    adjust: Adjust = Field(description="splits: returns of the price alone; all: with dividends")
    sessions: int = Field(description="Returns asked for")
    items: list[RiskItem]
    correlation: Correlation


class ComparePoint(Model):
    """One session of a rebased line."""

    session_date: date
    value: float = Field(description="Adjusted close, 100 at the first common session")


class CompareItem(Model):
    """One symbol's rebased line."""

    symbol: str
    source: str
    points: list[ComparePoint]


class Compare(AsKnown):
    """Symbols on one scale."""

    adjust: Adjust = Field(description="splits: the price alone; all: with dividends")
    base: float = 100
    items: list[CompareItem]
