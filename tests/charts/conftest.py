"""Helm, and what the chart renders under each set of values."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from chart_objects import VALUE_SETS, Manifest, render
from helm_program import HelmMissing, find_helm


@pytest.fixture(scope="session")
def helm() -> Path:
    """The helm program."""
    try:
        return find_helm()
    except HelmMissing as error:
        pytest.fail(str(error))


@pytest.fixture(scope="session")
def rendered(helm: Path) -> Callable[[str], list[Manifest]]:
    """The objects under a named set of values, rendered once."""
    return cache(lambda name: render(helm, *VALUE_SETS[name]))


@pytest.fixture(params=VALUE_SETS)
def objects(request: pytest.FixtureRequest, rendered: Callable[[str], list[Manifest]]) -> list[Manifest]:
    """The objects, under each set of values."""
    return rendered(request.param)
