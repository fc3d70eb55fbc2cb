"""Makes a MinIO store what a plan says: bucket, expiry, users, policies. Doing it again changes nothing."""

import json
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from minio.minioadmin import MinioAdmin
from pydantic import SecretStr

from provision_store import store_plan
from provision_store.retries import until_done
from provision_store.settings import ProvisionSettings
from provision_store.store_plan import Plan, User
from ticklake import logs
from ticklake.errors import ConfigurationError, DeniedError, StageError
from ticklake.objects import ObjectStore
from ticklake.settings import StoreSettings

log = logs.get(__name__)


def provision(settings: ProvisionSettings, stop: threading.Event) -> None:
    """Wait for the store and carry out the plan.

    Raises:
        ConfigurationError: the plan is unusable, or the store rejects the administrator's keys.
        StageError: the store did not come up in time, or fails.
    """
    wanted = store_plan.read(settings.provision_dir)
    store = ObjectStore(settings.store)
    until_done("store", store.create_bucket, settings.provision_wait_seconds, stop)
    store.expire(wanted.bucket.expire_days)
    for folder in wanted.bucket.folders:
        store.put(folder, b"")
    admin = _admin(settings.store)
    for user in wanted.users:
        _ensure(admin, user)
        log.info("user ready", user=user.name, policy=user.policy_name)
    _check(settings.store, wanted)
    log.info("store ready", bucket=store.bucket, users=len(wanted.users))


def _admin(store: StoreSettings) -> MinioAdmin:
    if store.endpoint is None or store.access_key is None or store.secret_key is None:
        raise ConfigurationError(
            "users and policies are made in a MinIO store only: set TICKLAKE_STORE_ENDPOINT, _ACCESS_KEY, _SECRET_KEY"
        )
    address = urlsplit(store.endpoint)
    return MinioAdmin(
        endpoint=address.netloc,
        credentials=StaticProvider(store.access_key.get_secret_value(), store.secret_key.get_secret_value()),
        secure=address.scheme == "https",
        http_client=urllib3.PoolManager(
            timeout=store.timeout_seconds,
            retries=urllib3.Retry(total=5, backoff_factor=0.5),
            ca_certs=str(store.ca_file) if store.ca_file else None,
        ),
    )


def _ensure(admin: MinioAdmin, user: User) -> None:
    """The user with its policy and no other."""
    try:
        admin.policy_add(user.policy_name, policy=user.policy)
        admin.user_add(user.access_key, user.secret_key.get_secret_value())
        held = {name for name in _policies(admin, user) if name}
        if user.policy_name not in held:
            admin.attach_policy([user.policy_name], user=user.access_key)
        if more := sorted(held - {user.policy_name}):
            admin.detach_policy(more, user=user.access_key)
    except MinioAdminException as error:
        raise _explained(user, error) from error
    except urllib3.exceptions.HTTPError as error:
        raise StageError(f"the store does not answer while user {user.name} is made: {error}") from error


def _policies(admin: MinioAdmin, user: User) -> list[str]:
    found: dict[str, Any] = json.loads(admin.user_info(user.access_key))
    return str(found.get("policyName", "")).split(",")


def _explained(user: User, error: MinioAdminException) -> StageError:
    text = str(error)
    # Not any 403: the body has the request's number, in hexadecimal digits.
    if "Status: 403" in text or "AccessDenied" in text:
        return ConfigurationError(f"the store lets these keys make no users (user {user.name}): use an administrator's")
    if "MalformedPolicy" in text or "XMinioMalformed" in text:
        return ConfigurationError(f"the store rejects the policy of user {user.name}: {text}")
    return StageError(f"the store failed to make user {user.name}: {text}")


def _check(store: StoreSettings, wanted: Plan) -> None:
    """Every user's keys are accepted; that each may do no more than its policy says is the store's business."""
    for user in wanted.users:
        keys = store.model_copy(update={"access_key": SecretStr(user.access_key), "secret_key": user.secret_key})
        with suppress(DeniedError):
            ObjectStore(keys).check_sign_in()
