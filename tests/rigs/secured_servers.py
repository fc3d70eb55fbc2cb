"""A real Kafka broker that asks for a sign-in and looks at rights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from ticklake_local.broker import Broker
from ticklake_local.processes import LOOPBACK, free_port

_WAIT_SECONDS = 30

Manifest = dict[str, Any]


class SecuredBroker(Broker):
    """A broker with a second listener, `secured_port`, for SCRAM-SHA-512; on the first one everybody may do all.

    With a `certificate` (PEM, with its key) there is a third one, `tls_port`, for the same under TLS.
    """

    def __init__(self, *arguments: object, certificate: Path | None = None, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)  # type: ignore[arg-type]
        self.secured_port, self.tls_port, self._certificate = free_port(), free_port(), certificate

    def _write_properties(self, file_name: str, storage: Path) -> Path:
        path = super()._write_properties(file_name, storage)
        settings = dict(line.split("=", 1) for line in path.read_text().splitlines())
        self._listen(settings, "SECURED", "SASL_PLAINTEXT", self.secured_port)
        if self._certificate is not None:
            self._listen(settings, "TLS", "SASL_SSL", self.tls_port)
            settings |= {
                "listener.name.tls.ssl.keystore.type": "PEM",
                "listener.name.tls.ssl.keystore.location": str(self._certificate),
            }
        settings |= {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            # What Strimzi sets for `authorization: simple`.
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path

    def _listen(self, settings: dict[str, str], name: str, protocol: str, port: int) -> None:
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        settings["listeners"] += f",{name}://{LOOPBACK}:{port}"
        settings["advertised.listeners"] += f",{name}://{LOOPBACK}:{port}"
        settings["listener.security.protocol.map"] += f",{name}:{protocol}"
        settings[f"listener.name.{name.lower()}.scram-sha-512.sasl.jaas.config"] = f"{module} required;"

    def add_user(self, name: str, password: str) -> None:
        """A user who may do everything, or another password for one that is there."""
        anything = [
            {"resource": {"type": kind, "name": "*", "patternType": "literal"}, "operations": ["All"]}
            for kind in ("topic", "group")
        ]
        self.add_users([{"metadata": {"name": name}, "spec": {"authorization": {"acls": anything}}}], {name: password})

    def add_users(self, users: Iterable[Manifest], passwords: dict[str, str]) -> None:
        """Do what Strimzi's user operator does with these KafkaUsers."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        acls: list[AclBinding] = []
        upsertions = []
        for user in users:
            name = user["metadata"]["name"]
            how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
            upsertions.append(UserScramCredentialUpsertion(name, how, passwords[name].encode()))
            acls += [binding for acl in user["spec"]["authorization"]["acls"] for binding in _bindings(name, acl)]
        for done in admin.alter_user_scram_credentials(upsertions).values():
            done.result(_WAIT_SECONDS)
        for done in admin.create_acls(acls).values():
            done.result(_WAIT_SECONDS)


def _bindings(user: str, acl: Manifest) -> list[AclBinding]:
    resource = acl["resource"]
    return [
        AclBinding(
            ResourceType[resource["type"].upper()],
            resource["name"],
            ResourcePatternType[resource["patternType"].upper()],
            f"User:{user}",
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )
        for operation in acl["operations"]
    ]
