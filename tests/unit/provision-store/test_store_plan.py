"""The plan as a chart mounts it."""

import json
from pathlib import Path

import pytest

from provision_store import store_plan
from ticklake.errors import ConfigurationError

POLICY = {"Version": "2012-10-17", "Statement": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bucket.json").write_text('{"expire_days": {"checks/": 1}}')
    (tmp_path / "policies").mkdir()
    for user in ("load-warehouse", "archive-ticks"):
        keys = tmp_path / "users" / user
        keys.mkdir(parents=True)
        (keys / "access-key").write_text(f"{user}-key\n")
        (keys / "secret-key").write_text("secret")
        (tmp_path / "policies" / f"{user}.json").write_text(json.dumps(POLICY))
    return tmp_path


def test_users_with_their_policies(folder: Path) -> None:
    (folder / "users" / "..data").mkdir()  # as Kubernetes mounts secrets
    found = store_plan.read(folder)
    assert found.bucket.expire_days == {"checks/": 1}
    assert [(user.name, user.access_key, user.policy, user.policy_name) for user in found.users] == [
        ("archive-ticks", "archive-ticks-key", POLICY, "ticklake-archive-ticks"),
        ("load-warehouse", "load-warehouse-key", POLICY, "ticklake-load-warehouse"),
    ]
    assert "secret" not in repr(found).replace("secret_key", "")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "bucket.json").unlink(), "bucket.json cannot be read: No such file"),
        (lambda f: (f / "bucket.json").write_text('{"expire": 1}'), "Extra inputs are not permitted"),
        (lambda f: (f / "policies" / "archive-ticks.json").unlink(), "do not name the same users: archive-ticks"),
        (lambda f: (f / "policies" / "other.json").write_text("{}"), "do not name the same users: other"),
        (lambda f: (f / "policies" / "archive-ticks.json").write_text("{"), "archive-ticks.json is no JSON"),
        (lambda f: (f / "users" / "archive-ticks" / "secret-key").write_text("\n"), "secret-key is empty"),
    ],
)
def test_an_unusable_plan_is_named(folder: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    spoil(folder)
    with pytest.raises(ConfigurationError, match=message):
        store_plan.read(folder)
