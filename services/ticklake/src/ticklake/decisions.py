"""What the decisions that people make have in common: who made them, and how they are read from the lake."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ticklake import logs
from ticklake.errors import ConfigurationError
from ticklake.objects import ObjectStore

log = logs.get(__name__)

M = TypeVar("M", bound=BaseModel)

_LONGEST_NAME = 200


def checked_name(by: str) -> str:
    """The name of who decides, without blanks around it.

    Raises:
        ConfigurationError: it is none.
    """
    if not by.strip() or len(by) > _LONGEST_NAME or not by.isprintable():
        raise ConfigurationError(f"who decides has 1 to {_LONGEST_NAME} printable characters, not {by!r}")
    return by.strip()


def read_object(store: ObjectStore, key: str, model: type[M]) -> M | None:
    """The object as `model`; None where it is not there, or is none that this version can read, which is logged."""
    try:
        return model.model_validate_json(store.get(key))
    except KeyError:
        return None
    except ValidationError as error:
        log.warning("not readable", key=key, reason=error.errors()[0]["msg"])
        return None
