"""Which objects below lineage/ are whose, and how often a stage has failed."""

from datetime import UTC, date, datetime

import pytest

from ticklake.errors import ConfigurationError
from ticklake.lineage import RunLineage, StageFailure, StageRecord
from ticklake.objects import ObjectStore
from ticklake.runs import folder_of, kind_of, write_failure

NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("lineage/run_id=a/fetch-historical.json", StageRecord),
        ("lineage/run_id=a/failures/fetch-historical.json", StageFailure),
        ("lineage/run_id=a/run.json", RunLineage),
        ("lineage/run_id=a/failures/run.json", None),
        ("lineage/run_id=a/other/fetch-historical.json", None),
        ("lineage/run_id=a/fetch-historical.parquet", None),
        ("lineage/run_id=a/fetch-historical", None),
        ("lineage/notes.json", None),
        ("lineage/other/run.json", None),
        ("raw/run_id=a/run.json", None),
    ],
)
def test_what_an_object_is_by_its_key(key: str, kind: type | None) -> None:
    assert kind_of(key) is kind


def test_the_folder_of_a_run() -> None:
    assert folder_of("lineage/run_id=a/failures/load-warehouse.json") == "run_id=a"


class WriteOnly(ObjectStore):
    """What a stage sees that may write its failure and not read it."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put(self, key: str, body: bytes, **_: object) -> None:
        self.held[key] = body

    def get(self, key: str) -> bytes:
        raise ConfigurationError("the store denies permission to read")


def test_without_the_right_to_read_a_failure_is_kept_and_not_counted() -> None:
    failure = StageFailure(
        stage="fetch-historical",
        run_id="r",
        batch_date=date(2026, 1, 30),
        kind="StageError",
        reason="x",
        exit_code=1,
        started_at=NOON,
        failed_at=NOON,
        code_version="x",
    )
    store = WriteOnly()
    write_failure(store, failure)
    kept = StageFailure.model_validate_json(store.held["lineage/run_id=r/failures/fetch-historical.json"])
    assert (kept.reason, kept.times) == ("x", None)
