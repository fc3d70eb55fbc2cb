"""The file of rules that a user sets: YAML, read into one model per kind of rule."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from market_alerts.rules import KINDS, Rule
from ticklake.errors import ConfigurationError
from ticklake.records import reason_of

DEFAULT_FILE = Path(__file__).with_name("rules.yaml")
_VARIABLE = "TICKLAKE_ALERTS_RULES_FILE"
_MAX_RULES = 100


def read_file(path: Path) -> bytes:
    """The content of a rules file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{_VARIABLE}: {path} cannot be read: {error.strerror}") from error


def parse_file(content: bytes, path: Path) -> tuple[Rule, ...]:
    """The rules in the content of the file at `path`.

    Raises:
        ConfigurationError: it is no YAML or a rule is wrong; names every wrong rule and field.
    """
    try:
        found = yaml.safe_load(content.decode())
    # Not only YAMLError: the library lets through what Python says of dates that are none, or of nesting without end.
    except Exception as error:
        raise ConfigurationError(f"{_VARIABLE}: {path} is no YAML: {' '.join(str(error).split())}") from error
    try:
        return parse_rules(found)
    except ValueError as error:
        raise ConfigurationError(f"{_VARIABLE}: {path}: {error}") from error


def parse_rules(content: Any) -> tuple[Rule, ...]:
    """The rules in a file's parsed content.

    Raises:
        ValueError: something is wrong; names every wrong rule and field.
    """
    if not isinstance(content, dict) or set(content) != {"rules"} or not isinstance(content["rules"], list):
        raise ValueError("should hold one list called rules")
    if len(content["rules"]) > _MAX_RULES:
        raise ValueError(f"has {len(content['rules'])} rules; {_MAX_RULES} is the most")
    found: list[Rule] = []
    wrong: list[str] = []
    for number, entry in enumerate(content["rules"], 1):
        try:
            found.append(_parse(entry))
        except ValidationError as error:
            wrong.append(f"{_label(entry, number)}: {reason_of(error)}")
        except ValueError as error:
            wrong.append(f"{_label(entry, number)}: {error}")
    names = [rule.name for rule in found]
    wrong += [f"rule {name}: there are {names.count(name)} rules of this name" for name in _repeated(names)]
    for model in KINDS.values():
        try:
            model.check_all(found)
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(found)


def _parse(entry: Any) -> Rule:
    if not isinstance(entry, dict):
        raise ValueError("should be a mapping with name, kind and more")
    model = KINDS.get(entry["kind"]) if isinstance(entry.get("kind"), str) else None
    if model is None:
        raise ValueError(f"kind: should be one of {', '.join(KINDS)}")
    return model.model_validate(entry)


def _label(entry: Any, number: int) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"rule {name}" if isinstance(name, str) and name else f"rule number {number}"


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
