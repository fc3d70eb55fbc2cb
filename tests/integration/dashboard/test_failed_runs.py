"""A real stage that fails, fails again and is recovered by a retry, as the API reports it."""

import subprocess
from datetime import UTC, datetime

from ticklake import lineage
from ticklake.lineage import StageRecord
from ticklake.objects import ObjectStore
from ticklake.records import Source
from ticklake.settings import StoreSettings

RUN = "manual__2026-01-30T22:30:00+00:00"


def test_a_failed_stage_and_its_retry(serve, stage_env, programs, store_settings: StoreSettings):
    def consume() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [programs / "consume-historical", "--date", "2026-01-30", "--run-id", RUN],
            env=stage_env(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    server = serve()
    assert server.wait("/runs", lambda answer: True)["items"] == []
    began = datetime.now(UTC)
    done = consume()
    (run,) = server.wait("/runs", lambda answer: answer["items"])["items"]
    assert (run["run_id"], run["batch_date"], run["source"], run["state"]) == (RUN, "2026-01-30", None, "failed")
    assert (run["stages_done"], run["rows_in"], run["reconciled"]) == (0, None, None)
    (failure,) = run["failures"]
    # The stage itself says so on its last line.
    assert failure["reason"] in done.stderr
    assert (failure["stage"], failure["kind"]) == ("consume-historical", "ConfigurationError")
    assert (failure["exit_code"], failure["times"], failure["recovered_at"]) == (done.returncode, 1, None)
    assert began < datetime.fromisoformat(failure["failed_at"]) < datetime.now(UTC)

    consume()
    again = server.wait("/runs", lambda answer: answer["items"][0]["failures"][0]["times"] == 2)["items"][0]
    assert again["failures"][0]["failed_at"] > failure["failed_at"]

    now = datetime.now(UTC)
    record = StageRecord(
        stage="consume-historical",
        run_id=RUN,
        batch_id=RUN,
        batch_date=now.date(),
        source=Source.REPLAY,
        rows_in=3,
        rows_out=3,
        quarantined=0,
        symbols={},
        started_at=now,
        finished_at=now,
        code_version="x",
    )
    lineage.write(ObjectStore(store_settings), record)
    run = server.wait("/runs", lambda answer: answer["items"][0]["state"] == "incomplete")["items"][0]
    assert (run["stages_done"], run["rows_in"], run["source"]) == (1, 3, "replay")
    (failure,) = run["failures"]
    assert failure["times"] == 2
    assert abs(datetime.fromisoformat(failure["recovered_at"]) - now).total_seconds() < 0.01
    detail = server.json(f"/runs/{RUN}")
    assert detail["failures"] == [failure]
    assert [stage["stage"] for stage in detail["stages"]] == ["consume-historical"]
    described = server.json("/openapi.json")["components"]["schemas"]
    assert "a retry may help" in described["Failure"]["properties"]["exit_code"]["description"]
