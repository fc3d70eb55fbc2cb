"""Prometheus' own tool."""

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def promtool() -> str:
    """The program promtool."""
    if found := shutil.which("promtool"):
        return found
    if os.environ.get("TICKLAKE_REQUIRE_PROMETHEUS"):
        pytest.fail("TICKLAKE_REQUIRE_PROMETHEUS is set, and there is no promtool on the PATH")
    pytest.skip("there is no promtool on the PATH (Debian: apt-get install prometheus)")
