"""validate-raw on batches that the real fetch and consume left in the real store."""

import json
from datetime import date

import pytest

from consume_historical.validate_stage import ValidateSettings, validate_run
from ticklake import lineage
from ticklake.batch_checks import QualityError, QualitySettings
from ticklake.batch_stage import Run
from ticklake.errors import ConfigurationError, ExitCode, IntegrityError

LAST = date(2013, 3, 1)


@pytest.fixture
def validate(store_settings, catalog_settings, run_id):
    def run(day=LAST, **limits):
        settings = ValidateSettings(store=store_settings, catalog=catalog_settings, quality=QualitySettings(**limits))
        return validate_run(settings, Run(run_id, day))[0]

    return run


def observed(record):
    return {check.name: check.observed for check in record.checks}


def test_a_real_year_passes_and_every_value_is_reported(fetch, consume, validate):
    fetch()
    consume()
    record = validate()
    assert (record.rows_in, record.rows_out, record.quarantined) == (1196, 1196, 0)
    assert all(check.passed for check in record.checks)
    # The recording has symbols of 2013 that Yahoo knows under other names since; none of those asked for is empty.
    assert observed(record)["symbols held or without rows"] == 0
    assert observed(record)["sessions behind"] == 0
    # The recording lacks days of its own: 1,196 of 5 x 250 rows, so some symbol has gaps or a later start.
    # The greatest moves of that year came with a great volume, and do not count.
    assert 0 < observed(record)["greatest daily move"] < 0.2255


def test_a_symbol_that_brought_nothing(fetch, consume, validate):
    fetch(symbols=("AAPL", "NOSUCH"))
    consume()
    with pytest.raises(
        QualityError, match=r"symbols held or without rows: 0\.5 of all, at most 0\.1 .*NOSUCH: unknown"
    ):
        validate()
    assert validate(max_failed_symbols=0.5).rows_out > 200


def test_a_batch_that_is_too_old(fetch, consume, validate, store, run_id):
    fetch(day=date(2013, 3, 8))  # five sessions after the recording's last one
    consume(day=date(2013, 3, 8))
    with pytest.raises(QualityError, match="AAPL: sessions behind: 5 sessions, at most 1 allowed"):
        validate(day=date(2013, 3, 8))
    kept = lineage.read(store, run_id, "validate-raw")
    assert [check.name for check in kept.checks if not check.passed] == ["symbols held or without rows"]
    assert len(kept.held_symbols()) == 5
    assert validate(day=date(2013, 3, 8), max_stale_sessions=5).checks


def test_a_price_that_jumps(fetch, consume, validate, inject_row, run_id):
    inject_row(run_id, "IBM", {100: dict.fromkeys(("open", "high", "low", "close", "adj_close"), 2000.0)})
    fetch(symbols=("IBM",))
    consume()
    with pytest.raises(QualityError, match=r"IBM: greatest daily move: "):
        validate()
    record = validate(max_failed_symbols=1)
    assert (record.rows_out, record.held, record.symbols["IBM"].status) == (0, 250, "held")


def test_an_object_that_is_changed_or_gone(fetch, consume, validate, store):
    fetch(symbols=("AAPL", "MSFT"))
    first, second = consume().objects
    store.put(first.key, store.get(first.key).replace(b"AAPL", b"AAPX"))
    with pytest.raises(IntegrityError, match=f"{first.key} is not the object"):
        validate()
    store.delete(first.key)
    store.delete(second.key)
    with pytest.raises(IntegrityError, match="is gone"):
        validate()


def test_before_its_turn_and_for_another_date(fetch, consume, validate):
    with pytest.raises(ConfigurationError, match="has no result of consume-historical"):
        validate()
    fetch(symbols=("AAPL",))
    consume()
    with pytest.raises(ConfigurationError, match="is of 2013-03-01, not of --date 2013-02-28"):
        validate(day=date(2013, 2, 28))


def test_the_program(fetch, consume, program, store_settings, run_id, tmp_path):
    fetch(symbols=("AAPL", "NOSUCH"))
    consume()
    xcom = tmp_path / "return.json"
    more = {"TICKLAKE_STORE_BUCKET": store_settings.bucket, "TICKLAKE_XCOM_FILE": str(xcom)}
    done = program("validate-raw", run_id, **more)
    assert done.returncode == ExitCode.UNUSABLE
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("validate-raw: ")]
    assert "NOSUCH" in line
    assert "Traceback" not in done.stderr
    done = program("validate-raw", run_id, **more, TICKLAKE_QUALITY_MAX_FAILED_SYMBOLS="0.5")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert {check["name"] for check in json.loads(xcom.read_text())["checks"]} >= {"sessions behind"}
