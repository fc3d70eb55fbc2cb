"""Names: the fixed ones, and that no two things share one."""

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from ticklake import keys, symbols, topics

DAY = date(2013, 3, 1)


def test_names_kept_from_the_old_system() -> None:
    assert topics.BATCH_TOPIC == "stock_market_batch"
    assert topics.BATCH_GROUP == "stock-market-batch-consumer-group"
    assert topics.live_names().topic == "stock-market-realtime"
    assert keys.BUCKET == "stock-market-data"
    fetched = datetime(2026, 11, 22, 4, 5, 6, tzinfo=UTC)
    assert keys.raw_daily_key("AAPL", DAY, fetched) == "raw/historical/year=2013/month=03/day=01/AAPL_040506.csv"
    assert topics.live_names().raw_prefix == "raw/realtime"
    assert topics.live_names().processed_prefix == "processed/realtime"
    assert symbols.LIVE_SYMBOLS == ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "NVDA", "INTC")


def test_an_accelerated_flow_shares_no_name_with_the_real_one() -> None:
    real, fast = topics.live_names(), topics.live_names("fast")
    for field in ("topic", "analytics_topic", "archive_group", "raw_prefix", "processed_prefix", "checkpoint_prefix"):
        one, other = getattr(real, field), getattr(fast, field)
        assert one != other
        assert not other.startswith(f"{one}/")


def test_the_live_topic_is_stamped_by_the_broker() -> None:
    configs = {spec.name: spec.config for spec in topics.live_topics(topics.live_names())}
    assert configs["stock-market-realtime"]["message.timestamp.type"] == "LogAppendTime"


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_two_texts_never_share_a_slug(one: str, other: str) -> None:
    assert (keys.slug(one) == keys.slug(other)) == (one == other)


@given(st.text(min_size=1, max_size=60))
def test_a_slug_is_one_safe_part_of_a_path(text: str) -> None:
    made = keys.slug(text)
    assert made
    assert made not in (".", "..")
    assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def test_airflow_run_ids_become_keys() -> None:
    key = keys.lineage_key("scheduled__2026-11-21T00:00:00+00:00", "fetch-historical")
    assert key.startswith("lineage/run_id=scheduled__2026-11-21T00-00-00-00-00-")
    assert key.endswith("/fetch-historical.json")
