"""The comparison after a storm finds what is lost, doubled, out of order or different."""

from collections import Counter

import pandas as pd
import pytest
from tests.fault_injection.verification import compare_ticks, differences

LOG = pd.DataFrame(
    [(0, offset, "run", "AAPL", offset, 100.0 + offset, 5) for offset in range(4)],
    columns=["partition", "offset", "producer_run", "symbol", "sequence", "price", "volume"],
)


def sent(*sequences: int) -> pd.DataFrame:
    return LOG.assign(sequence=sequences)


@pytest.mark.parametrize(
    ("log", "archived", "faults"),
    [
        (LOG, LOG, []),
        (sent(0, 1, 3, 4), sent(0, 1, 3, 4), ["1 ticks of the log are lost"]),
        (sent(0, 1, 1, 2), sent(0, 1, 1, 2), ["1 ticks of the log are there twice"]),
        (sent(0, 2, 1, 3), sent(0, 2, 1, 3), ["1 ticks of the log are out of order"]),
        (LOG, LOG[:3], ["1 ticks are not archived as they were sent"]),
        (LOG[:3], LOG, ["1 ticks are archived, but not in the log"]),
        (LOG, pd.concat([LOG, LOG[:1]]), ["1 offsets are archived twice"]),
        (
            LOG,
            LOG.assign(price=1.0),
            ["4 ticks are not archived as they were sent", "4 ticks are archived, but not in the log"],
        ),
    ],
)
def test_ticks_are_compared_with_the_log(log: pd.DataFrame, archived: pd.DataFrame, faults: list[str]) -> None:
    assert compare_ticks(log, archived) == faults


def test_missing_and_repeated_alerts_are_found() -> None:
    assert differences("alert", Counter("aab"), Counter("aab")) == []
    assert differences("alert", Counter("ab"), Counter("aa")) == [
        "1 alerts are missing, such as b",
        "1 alerts are too many, such as a",
    ]
