"""Stores whose keys a test changes."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from minio.credentials import StaticProvider
from minio.minioadmin import MinioAdmin
from pydantic import SecretStr

from ticklake.settings import StoreSettings
from ticklake_local import platform
from ticklake_local.processes import free_port
from ticklake_local.store import Store

ADMINISTRATOR = {"MINIO_ROOT_USER": "admin", "MINIO_ROOT_PASSWORD": "adminsecret"}
_POLICY = "everything"


def settings(endpoint: str, access_key: str, secret_key: str) -> StoreSettings:
    """How to reach a store."""
    return StoreSettings(endpoint=endpoint, access_key=SecretStr(access_key), secret_key=SecretStr(secret_key))


@dataclass
class KeyedStore:
    """The local store, which starts again with another secret key and the same objects."""

    tools: platform.Tools
    folder: Path
    port: int = field(default_factory=free_port)
    part: Store | None = None

    def start(self, secret: str) -> StoreSettings:
        """Run it with this secret key from now on."""
        self.stop()
        self.part = Store(
            self.tools.java, self.tools.jars["s3proxy"], self.folder / "store", self.folder, self.port, "key", secret
        )
        self.part.start()
        self.part.wait_ready()
        return settings(self.part.endpoint, "key", secret)

    def stop(self) -> None:
        """Stop it."""
        if self.part is not None:
            self.part.stop()


class MinioUser:
    """A user of a running MinIO server, not made yet."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._admin = MinioAdmin(
            endpoint=urlsplit(endpoint).netloc,
            secure=False,
            credentials=StaticProvider(ADMINISTRATOR["MINIO_ROOT_USER"], ADMINISTRATOR["MINIO_ROOT_PASSWORD"]),
        )
        allowed = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
        self._admin.policy_add(_POLICY, policy={"Version": "2012-10-17", "Statement": [allowed]})

    def set_key(self, secret: str) -> StoreSettings:
        """Make the user, or give it another secret key."""
        self._admin.user_add("user", secret)
        return settings(self._endpoint, "user", secret)

    def remove(self) -> None:
        """Remove the user."""
        self._admin.user_remove("user")

    def allow(self) -> None:
        """Let the user do everything; made again, it may do nothing."""
        self._admin.attach_policy([_POLICY], user="user")
