"""What a user sees of a failed stage's log."""

from pathlib import Path

import pytest

from ticklake_local.batch import tail

RECORD = '{"level": "info", "event": "sent"}'
LINE = "validate-raw: symbols held or without rows: 0.2 of all, at most 0.1 allowed"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ([RECORD, RECORD, LINE], LINE),
        ([RECORD], RECORD),  # killed: that is all there is
        (
            ["Traceback (most recent call last):", RECORD, "KeyError: 1"],
            "Traceback (most recent call last):\nKeyError: 1",
        ),
        ([f"{n}" for n in range(30)], "\n".join(f"{n}" for n in range(15, 30))),
    ],
)
def test_the_end_of_a_log_has_the_lines_for_people(tmp_path: Path, written: list[str], shown: str) -> None:
    log = tmp_path / "log"
    log.write_text("of the run before\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.writelines(f"{line}\n" for line in written)
    assert tail(log, start) == shown
    assert tail(tmp_path / "none", 0) == ""
