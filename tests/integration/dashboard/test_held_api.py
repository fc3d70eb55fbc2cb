"""What the API reports of held symbols, from the records and decisions in the lake."""

from datetime import UTC, date, datetime, timedelta

from ticklake import held_symbols, lineage
from ticklake.lineage import ObjectRef, StageRecord, SymbolResult
from ticklake.objects import ObjectStore
from ticklake.records import Source, SymbolStatus
from ticklake.settings import StoreSettings


def night(store: ObjectStore, number: int, **reasons: str) -> None:
    day = date(2026, 1, 26) + timedelta(days=number)
    at = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
    symbols = {
        symbol: SymbolResult(status=SymbolStatus.HELD, rows=0, checksum="", held=251, reasons=(reason,))
        for symbol, reason in reasons.items()
    }
    answers = tuple(
        ObjectRef(key=f"raw/source/run_id=night{number}/{symbol}.parquet", rows=251, size=9, sha256="x", symbol=symbol)
        for symbol in symbols
        if symbol != "ODD"
    )
    lineage.write(
        store,
        StageRecord(
            stage="fetch-historical",
            run_id=f"night{number}",
            batch_id=f"night{number}",
            batch_date=day,
            source=Source.YAHOO,
            rows_in=0,
            rows_out=0,
            quarantined=0,
            symbols=symbols,
            objects=answers,
            started_at=at,
            finished_at=at,
            code_version="x",
        ),
    )


def test_held_symbols_are_listed_until_somebody_decides(serve, store_settings: StoreSettings):
    store = ObjectStore(store_settings)
    server = serve()
    assert server.wait("/held", lambda answer: True) == {"items": []}
    night(store, 0, AAPL="the answer is of MSFT")
    night(store, 1, AAPL="dividends in VND, prices in USD", ODD="HTTP 422")
    items = server.wait("/held", lambda answer: len(answer["items"]) == 2)["items"]
    assert items[0] == {
        "symbol": "AAPL",
        "source": "yahoo",
        "run_id": "night1",
        "batch_date": "2026-01-27",
        "since_run_id": "night0",
        "since_date": "2026-01-26",
        "runs": 2,
        "stage": "fetch-historical",
        "reasons": ["dividends in VND, prices in USD"],
        "rows": 251,
        "answer": "raw/source/run_id=night1/AAPL.parquet",
        "released": None,
    }
    assert (items[1]["symbol"], items[1]["answer"]) == ("ODD", None)
    held_symbols.decide(store, "drop", "ODD", "kim")
    assert [item["symbol"] for item in server.wait("/held", lambda answer: len(answer["items"]) == 1)["items"]] == [
        "AAPL"
    ]
