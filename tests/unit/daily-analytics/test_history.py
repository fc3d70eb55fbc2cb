"""Which stored batches a history is read from."""

from datetime import UTC, date, datetime, timedelta

from daily_analytics.history import choose
from ticklake.lineage import ObjectRef
from ticklake.manifests import DailyManifest, SessionSpan
from ticklake.records import Source

TODAY = date(2026, 1, 30)


def span(first: date, last: date) -> SessionSpan:
    return SessionSpan(first=first, last=last, rows=(last - first).days + 1)


def stored(batch_date: date, spans: dict[str, tuple[date, date]], **more) -> DailyManifest:
    fetched_at = datetime(batch_date.year, batch_date.month, batch_date.day, 22, tzinfo=UTC)
    return DailyManifest(
        run_id=f"run {batch_date}", batch_id=f"run {batch_date}", batch_date=batch_date,
        spans={symbol: span(*bounds) for symbol, bounds in spans.items()},
        objects=tuple(
            ObjectRef(key=f"{batch_date}/{symbol}", rows=span(*bounds).rows, size=1, sha256="", symbol=symbol)
            for symbol, bounds in spans.items()
        ),
        **{"source": Source.YAHOO, "fetched_at": fetched_at, **more},
    )  # fmt: skip


def chosen(manifests: list[DailyManifest], **more):
    arguments = {
        "batch_date": TODAY, "source": Source.YAHOO, "fetched_at": datetime(2026, 1, 30, 22, tzinfo=UTC),
        "spans": {"AAA": span(TODAY - timedelta(days=365), TODAY)},
    }  # fmt: skip
    return choose(manifests, **arguments | more)


def keys(history) -> list[str]:
    return [ref.key for ref in history.objects]


def test_a_year_of_daily_runs_costs_one_file_per_year_of_history():
    days = [TODAY - timedelta(days=back) for back in range(1, 3 * 365)]
    runs = [stored(day, {"AAA": (day - timedelta(days=365), day), "BBB": (day, day)}) for day in days]
    history = chosen(runs)
    assert len(history.objects) == 3
    assert history.notes == ()
    # Each one starts in what is covered by then, and as early as any that does.
    assert keys(history)[0] == f"{TODAY - timedelta(days=365)}/AAA"


def test_only_earlier_batches_of_the_same_source_and_another_date_count():
    day = TODAY - timedelta(days=300)
    bounds = {"AAA": (day - timedelta(days=365), day)}
    assert keys(chosen([stored(day, bounds)])) == [f"{day}/AAA"]
    assert chosen([stored(day, bounds, source=Source.REPLAY)]).objects == ()
    assert chosen([stored(day, bounds, fetched_at=datetime(2026, 1, 30, 22, tzinfo=UTC))]).objects == ()
    assert chosen([stored(TODAY, bounds, fetched_at=datetime(2026, 1, 29, tzinfo=UTC))]).objects == ()


def test_of_two_that_start_alike_the_one_fetched_later_is_taken():
    first, day = date(2024, 1, 2), date(2025, 3, 3)
    runs = [stored(day + timedelta(days=n), {"AAA": (first, day + timedelta(days=n))}) for n in range(3)]
    assert keys(chosen(runs)) == ["2025-03-05/AAA"]


def test_what_ends_just_before_is_left_out_and_named_and_what_ended_long_before_is_not_missed():
    begins = TODAY - timedelta(days=365)
    near = stored(date(2025, 2, 1), {"AAA": (date(2024, 1, 2), begins - timedelta(days=3))})
    history = chosen([near])
    assert history.objects == ()
    assert len(history.notes) == 1
    assert history.notes[0].startswith("AAA: ")
    far = stored(date(2024, 6, 1), {"AAA": (date(2023, 1, 2), date(2024, 6, 1))})
    assert chosen([far]).notes == ()


def test_each_symbol_has_its_own_history():
    day = TODAY - timedelta(days=200)
    runs = [stored(day, {"AAA": (date(2023, 1, 2), day)}), stored(day - timedelta(days=1), {"BBB": (day, day)})]
    spans = {symbol: span(TODAY - timedelta(days=365), TODAY) for symbol in ("AAA", "BBB", "CCC")}
    assert keys(chosen(runs, spans=spans)) == [f"{day}/AAA"]
