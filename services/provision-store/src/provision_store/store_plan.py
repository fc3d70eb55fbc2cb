"""What is to be there in the store, read from a folder of files as a chart mounts them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from ticklake.errors import ConfigurationError


class Bucket(BaseModel):
    """`bucket.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expire_days: dict[str, int] = Field(default_factory=dict)
    """Days after which objects under a prefix expire."""
    folders: tuple[str, ...] = ()
    """Prefixes, each with its trailing slash, that get an empty object of that name: some programs want to find one."""


@dataclass(frozen=True)
class User:
    """A user of the store and what it may do."""

    name: str
    access_key: str
    secret_key: SecretStr
    policy: dict[str, Any]
    """An S3 policy document."""

    @property
    def policy_name(self) -> str:
        """Name of the policy in the store."""
        return f"ticklake-{self.name}"


@dataclass(frozen=True)
class Plan:
    """The whole of it."""

    bucket: Bucket
    users: tuple[User, ...]


def read(folder: Path) -> Plan:
    """The plan in `folder`.

    Raises:
        ConfigurationError: a file is missing or unreadable, or a user has no policy or a policy no user.
    """
    try:
        bucket = Bucket.model_validate_json(_text(folder / "bucket.json"))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(f"{folder / 'bucket.json'}: {first['loc']}: {first['msg']}") from error
    # A mounted secret has hidden entries of its own beside what it holds.
    users = {path.name for path in (folder / "users").glob("[!.]*")}
    policies = {path.stem for path in (folder / "policies").glob("[!.]*.json")}
    if users != policies:
        odd = ", ".join(sorted(users ^ policies))
        raise ConfigurationError(f"{folder}: users/ and policies/ do not name the same users: {odd}")
    return Plan(bucket, tuple(_user(folder, name) for name in sorted(users)))


def _user(folder: Path, name: str) -> User:
    path = folder / "policies" / f"{name}.json"
    try:
        policy = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from error
    keys = folder / "users" / name
    return User(name, _text(keys / "access-key").strip(), SecretStr(_text(keys / "secret-key").strip()), policy)


def _text(path: Path) -> str:
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    if not text.strip():
        raise ConfigurationError(f"{path} is empty")
    return text
