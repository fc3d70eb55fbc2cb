"""Servers that a test may end, change and start again."""

import os
import signal
from pathlib import Path

from kafka.admin import ScramMechanism, UserScramCredentialUpsertion
from pydantic import SecretStr

from ticklake.kafka import admin
from ticklake.settings import KafkaSettings, StoreSettings
from ticklake_local import platform
from ticklake_local.broker import Broker
from ticklake_local.processes import LOOPBACK, Part, free_port
from ticklake_local.store import Store


class _Mortal(Part):
    """A server that ends as on a lost machine, and starts again with what it wrote."""

    def kill(self) -> None:
        assert self.child is not None
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.stop()

    def start_again(self) -> None:
        self.start()
        self.wait_ready()


class OwnStore(_Mortal, Store):
    """A store with one bucket."""

    def __init__(self, tools: platform.Tools, folder: Path) -> None:
        super().__init__(tools.java, tools.jars["s3proxy"], folder / "objects", folder, free_port(), "key", "first")

    def set_secret_key(self, key: str) -> None:
        """From the next start on."""
        self._secret_key = key

    @property
    def settings(self) -> StoreSettings:
        key = SecretStr(self._secret_key)
        return StoreSettings(
            endpoint=self.endpoint, access_key=SecretStr("key"), secret_key=key, bucket="bucket", timeout_seconds=2
        )


class PasswordBroker(_Mortal, Broker):
    """A broker with a second listener, `secured_port`, for SCRAM-SHA-512."""

    def __init__(self, tools: platform.Tools, folder: Path) -> None:
        super().__init__(tools.java, tools.jars["kafka"], folder / "log", folder, free_port())
        self.secured_port = free_port()

    def _write_properties(self, file_name: str, storage: Path) -> Path:
        path = super()._write_properties(file_name, storage)
        settings = dict(line.split("=", 1) for line in path.read_text().splitlines())
        for name in ("listeners", "advertised.listeners"):
            settings[name] += f",SECURED://{LOOPBACK}:{self.secured_port}"
        settings["listener.security.protocol.map"] += ",SECURED:SASL_PLAINTEXT"
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        settings["sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
        settings["listener.name.secured.scram-sha-512.sasl.jaas.config"] = f"{module} required;"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path

    @property
    def settings(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.bootstrap_servers)

    def set_password(self, password: str) -> None:
        change = UserScramCredentialUpsertion("reader", ScramMechanism.SCRAM_SHA_512, password)
        with admin(self.settings) as client:
            client.alter_user_scram_credentials([change])
