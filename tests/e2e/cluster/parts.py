"""Kafka and a store as plain pods of the project's own parts, for clusters without operators for them."""

from collections.abc import Sequence
from typing import Any

PORTS = {"kafka": 9092, "store": 9000}


def manifests(wanted: Sequence[str], namespace: str, image: str, keys: dict[str, str]) -> dict[str, Any]:
    """The parts in `wanted` as one list, to be applied into `namespace`.

    Args:
        keys: `access-key` and `secret-key` of the store.
    """
    items = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store-keys"}, "stringData": keys}]
    for part in wanted:
        items += [_service(part, PORTS[part]), _pod(part, _container(part, image, namespace))]
        items.append(_prepare(part, image, namespace))
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _service(part: str, port: int) -> dict[str, Any]:
    spec = {"selector": {"part": part}, "ports": [{"name": "main", "port": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": part}, "spec": spec}


def _pod(part: str, container: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": part, "labels": {"part": part}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": _spec(container)}


def _prepare(part: str, image: str, namespace: str) -> dict[str, Any]:
    """Creates the part's topics or bucket, as an operator's owner would have."""
    container = _container(part, image, namespace) | {"command": ["local-server", part, "--prepare"]}
    del container["readinessProbe"]
    template = {"spec": _spec(container) | {"restartPolicy": "OnFailure"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"prepare-{part}"},
        "spec": {"backoffLimit": 10, "template": template},
    }


def _spec(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": name, "emptyDir": {}} for name in ("data", "tmp")],
    }


def _container(part: str, image: str, namespace: str) -> dict[str, Any]:
    return {
        "name": part,
        "image": image,
        "command": ["local-server", part],
        "env": [
            {"name": "TICKLAKE_PART_HOST", "value": f"kafka.{namespace}.svc"},
            {"name": "TICKLAKE_KAFKA_BOOTSTRAP_SERVERS", "value": f"kafka.{namespace}.svc:{PORTS['kafka']}"},
            {"name": "TICKLAKE_STORE_ENDPOINT", "value": f"http://store.{namespace}.svc:{PORTS['store']}"},
            _key("TICKLAKE_STORE_ACCESS_KEY", "access-key"),
            _key("TICKLAKE_STORE_SECRET_KEY", "secret-key"),
        ],
        "readinessProbe": {"tcpSocket": {"port": PORTS[part]}, "periodSeconds": 3},
        "resources": {"requests": {"cpu": "50m", "memory": "384Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],
    }


def _key(variable: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": "store-keys", "key": key}}}
