"""YAML read by libyaml: what PyYAML's safe loader gives, in a tenth of its time. Definitions and charts are long."""

from collections.abc import Iterator
from typing import Any

import yaml


def load(text: str) -> Any:
    """The one document of a text."""
    return yaml.load(text, yaml.CSafeLoader)


def load_all(text: str) -> Iterator[Any]:
    """All documents of a text."""
    return yaml.load_all(text, yaml.CSafeLoader)
