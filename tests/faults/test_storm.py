"""A short storm of faults; `make faults` is the long one, with every kind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = "archive-ticks|market-alerts|broker killed|store (cut|answers 503)"


@pytest.mark.timeout(1500)
def test_a_short_storm_loses_doubles_and_misorders_nothing() -> None:
    options = ("--seed", "11", "--faults", "7", "--ids", "5000", "--rate", "300", "--zombies", "20", "--only", KINDS)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault_injection", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'tests' / 'rigs'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 20 overwrote; without the condition 20" in done.stdout
    assert "Nothing lost, doubled, misordered or different." in done.stdout
    print(done.stdout)
