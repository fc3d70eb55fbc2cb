"""An alert to deliver."""

from datetime import UTC, datetime

from ticklake.alerts import Alert, Severity
from ticklake.records import Source

ALERT = Alert(
    alert_id="0123abcd",
    rule="level",
    symbol="AAPL",
    kind="price_cross",
    severity=Severity.CRITICAL,
    message="AAPL: price 200.5 crossed <200> & more",
    value=200.5,
    threshold=200.0,
    event_time=datetime(2026, 1, 30, 15, 0, 1, tzinfo=UTC),
    raised_at=datetime(2026, 1, 30, 15, 0, 2, tzinfo=UTC),
    source=Source.SIMULATED,
    state="raised",
)
