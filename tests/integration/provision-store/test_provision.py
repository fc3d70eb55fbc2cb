"""provision-store against a real MinIO server."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from pydantic import SecretStr

from provision_store.provision import provision
from provision_store.settings import ProvisionSettings
from ticklake.errors import ConfigurationError, StageError
from ticklake.objects import ObjectStore
from ticklake.settings import StoreSettings
from ticklake_local.processes import free_port

BUCKET = "arn:aws:s3:::stock-market-data"


@pytest.fixture(scope="module")
def minio(
    minio_server: Callable[[Path, dict[str, str]], AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StoreSettings]:
    administrator = {"MINIO_ROOT_USER": "admin", "MINIO_ROOT_PASSWORD": "adminsecret"}
    with minio_server(tmp_path_factory.mktemp("minio"), administrator) as endpoint:
        yield StoreSettings(endpoint=endpoint, access_key=SecretStr("admin"), secret_key=SecretStr("adminsecret"))


def write(folder: Path, *users: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "policies").mkdir(parents=True)
    (folder / "bucket.json").write_text('{"expire_days": {"checks/": 1}}')
    for user in users:
        keys = folder / "users" / user
        keys.mkdir(parents=True)
        (keys / "access-key").write_text(user)
        (keys / "secret-key").write_text(f"{user}-secret")
        allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": [f"{BUCKET}/{user}/*"]}
        (folder / "policies" / f"{user}.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))
    return folder


def run(minio: StoreSettings, folder: Path, **more: float) -> None:
    provision(ProvisionSettings(store=minio, provision_dir=folder, **more), threading.Event())


def as_user(minio: StoreSettings, name: str) -> ObjectStore:
    keys = {"access_key": SecretStr(name), "secret_key": SecretStr(f"{name}-secret")}
    return ObjectStore(minio.model_copy(update=keys))


def test_each_user_may_do_what_its_policy_says(minio: StoreSettings, tmp_path: Path) -> None:
    folder = write(tmp_path / "plan", "alpha", "beta")
    for _ in range(2):
        run(minio, folder)
    alpha = as_user(minio, "alpha")
    assert alpha.put_if_absent("alpha/x", b"1")
    assert not alpha.put_if_absent("alpha/x", b"2")
    assert alpha.get("alpha/x") == b"1"
    for forbidden in (lambda: alpha.put("beta/x", b"1"), lambda: alpha.delete("alpha/x"), alpha.create_bucket):
        with pytest.raises(ConfigurationError, match="AccessDenied"):
            forbidden()


def test_a_changed_policy_takes_effect(minio: StoreSettings, tmp_path: Path) -> None:
    folder = write(tmp_path / "plan", "gamma")
    run(minio, folder)
    policy = folder / "policies" / "gamma.json"
    policy.write_text(policy.read_text().replace("gamma/*", "delta/*"))
    run(minio, folder)
    as_user(minio, "gamma").put("delta/x", b"1")
    with pytest.raises(ConfigurationError, match="AccessDenied"):
        as_user(minio, "gamma").put("gamma/x", b"1")


def test_what_goes_wrong_is_named(minio: StoreSettings, tmp_path: Path) -> None:
    folder = write(tmp_path / "plan", "alpha")
    run(minio, folder)
    wrong = minio.model_copy(update={"secret_key": SecretStr("wrong")})
    with pytest.raises(ConfigurationError, match="SignatureDoesNotMatch"):
        run(wrong, folder)
    (folder / "policies" / "alpha.json").write_text('{"Version": "2012-10-17", "Statement": [{"Effect": "Maybe"}]}')
    with pytest.raises(ConfigurationError, match="rejects the policy of user alpha"):
        run(minio, folder)


def test_a_store_that_does_not_come_up(tmp_path: Path) -> None:
    nowhere = StoreSettings(
        endpoint=f"http://127.0.0.1:{free_port()}",
        access_key=SecretStr("a"),
        secret_key=SecretStr("b"),
        timeout_seconds=1,
    )
    with pytest.raises(StageError, match="does not answer"):
        run(nowhere, write(tmp_path / "plan", "alpha"), provision_wait_seconds=1)
