"""`kafka-cluster-id`: gives a Kafka object of Strimzi the cluster id of its volumes, and lets Strimzi go on.

Strimzi takes the id from the object's status. Where that is gone, after an uninstall, it makes a new id, and the
volumes of the old cluster do not fit it ("Invalid cluster.id"). The object is therefore created paused. Source:
"Recovering a deleted Kafka cluster" in Strimzi's documentation.
"""

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from kubernetes import client, config
from kubernetes.client import ApiException
from pydantic import Field
from urllib3.exceptions import HTTPError

from provision_store.retries import until_done
from ticklake import logs
from ticklake.errors import ConfigurationError, StageError
from ticklake.service import service_main
from ticklake.settings import StageSettings

log = logs.get(__name__)

_NAME = "kafka-cluster-id"
_PAUSE = "strimzi.io/pause-reconciliation"
_FORBIDDEN = 403


class ClusterIdSettings(StageSettings):
    """Which object, and which id (`TICKLAKE_KAFKA_…`)."""

    kafka_object: str
    """Name of the Kafka object."""
    kafka_namespace: str
    kafka_cluster_id: str = Field(pattern=r"^[A-Za-z0-9_-]{22}$")
    """A UUID in base64, as in the volumes' `meta.properties`."""
    kafka_wait_seconds: float = Field(default=600, gt=0)
    """How long to wait for Strimzi to see the object."""


class KafkaObject:
    """A Kafka object by way of the Kubernetes API.

    Every method raises `ConfigurationError` where the API forbids it, and `StageError` where it does not answer or the
    object is not there.
    """

    def __init__(self, api: client.CustomObjectsApi, name: str, namespace: str) -> None:
        self._api, self._name = api, name
        self._where = {
            "group": "kafka.strimzi.io",
            "version": "v1",
            "plural": "kafkas",
            "namespace": namespace,
            "name": name,
        }

    def get(self) -> dict[str, Any]:
        """The object as it is now."""
        found: dict[str, Any] = self._call(self._api.get_namespaced_custom_object)
        return found

    def patch(self, body: dict[str, Any]) -> None:
        """Merge `body` into the object."""
        self._call(self._api.patch_namespaced_custom_object, body=body)

    def patch_status(self, body: dict[str, Any]) -> None:
        """Merge `body` into the object's status."""
        self._call(self._api.patch_namespaced_custom_object_status, body={"status": body})

    def _call(self, method: Any, **more: Any) -> Any:
        try:
            return method(**self._where, **more)
        except ApiException as error:
            text = f"the Kubernetes API answers {error.status} {error.reason} for the Kafka object {self._name}"
            raise (ConfigurationError if error.status == _FORBIDDEN else StageError)(text) from error
        except HTTPError as error:
            raise StageError(f"the Kubernetes API does not answer: {error}") from error


def restore(kafka: KafkaObject, cluster_id: str) -> None:
    """Set the id of a paused object that has none, and end the pause.

    Call it again after a StageError: each step is done only where it is not done yet.

    Raises:
        ConfigurationError: the object has another id, so its brokers would not start on the volumes of `cluster_id`.
        StageError: Strimzi has not seen the object yet, or changed its status at the same time.
    """
    found = kafka.get()
    if _paused(found):
        if not _strimzi_has_seen(found):
            # What Strimzi writes when it first sees the pause would replace the id.
            raise StageError("Strimzi has not seen the Kafka object yet: is its operator running?")
        if not _cluster_id(found):
            kafka.patch_status({"clusterId": cluster_id})
            found = kafka.get()
            if not _cluster_id(found):
                raise StageError("the status of the Kafka object was replaced at the same time")
        kafka.patch({"metadata": {"annotations": {_PAUSE: None}}})
    there = _cluster_id(found)
    if not there:
        raise StageError("the Kafka object has no cluster id yet")
    if there != cluster_id:
        raise ConfigurationError(
            f"Kafka has the cluster id {there}, not {cluster_id}: set kafka.clusterId to the former"
        )


def _paused(found: dict[str, Any]) -> bool:
    return bool((found["metadata"].get("annotations") or {}).get(_PAUSE) == "true")


def _strimzi_has_seen(found: dict[str, Any]) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "ReconciliationPaused" and each.get("status") == "True" for each in conditions)


def _cluster_id(found: dict[str, Any]) -> str:
    return str((found.get("status") or {}).get("clusterId") or "")


def run(settings: ClusterIdSettings, stop: threading.Event) -> None:
    """Restore the id, trying again until the deadline.

    Raises:
        ConfigurationError: see `restore`; or this is no pod with an account of the cluster.
        StageError: Strimzi did not see the object in time.
    """
    try:
        config.load_incluster_config()
    except config.ConfigException as error:
        raise ConfigurationError(f"this is no pod with access to the Kubernetes API: {error}") from error
    kafka = KafkaObject(client.CustomObjectsApi(), settings.kafka_object, settings.kafka_namespace)
    until_done("kafka", partial(restore, kafka, settings.kafka_cluster_id), settings.kafka_wait_seconds, stop)
    log.info("Kafka has its cluster id", id=settings.kafka_cluster_id)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Restore the id once and exit."""
    service_main(_NAME, ClusterIdSettings, run, argv)
