"""What `ticklake doctor --cluster` checks: operators, resources, jobs and pods of the platform in one namespace."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from ticklake.errors import ConfigurationError, StageError
from ticklake_local.doctor import Check, Finding, State

_KINDS = {
    "Kafka": ("kafka.strimzi.io", "kafkas"),
    "Kafka topics": ("kafka.strimzi.io", "kafkatopics"),
    "Kafka users": ("kafka.strimzi.io", "kafkausers"),
    "store": ("minio.min.io", "tenants"),
    "Spark applications": ("sparkoperator.k8s.io", "sparkapplications"),
}
"""API group and plural of the operators' resources, by what they are here."""
_ADDRESSES = {
    "kafka.strimzi.io": ("TICKLAKE_KAFKA_BOOTSTRAP_SERVERS", "-kafka-bootstrap.{namespace}.svc:"),
    "minio.min.io": ("TICKLAKE_STORE_ENDPOINT", "//minio.{namespace}.svc"),
}
"""The setting that has the address of an operator's part, and what is in it unless the part is an external one."""
_TENANT_READY = "Initialized"
_SPARK_FAILED = ("FAILED", "SUBMISSION_FAILED", "FAILING")
_PATIENCE = timedelta(minutes=2)
"""By then an operator that watches the namespace has given a new resource a state."""
_TIMEOUT_SECONDS = 10
_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName")


def checks(namespace: str) -> dict[str, Check]:
    """All checks by subject, in the order in which they make sense.

    Raises:
        ConfigurationError: there is no context, or it lacks rights.
        StageError: the cluster does not answer.
    """
    from kubernetes.client import ApisApi

    with _api("list its APIs") as api:
        groups = ApisApi(api).get_api_versions(_request_timeout=_TIMEOUT_SECONDS).groups
    versions = {group.name: group.preferred_version.version for group in groups}
    return {
        "operators": partial(_operators, namespace, versions),
        **{
            subject: partial(_resources, namespace, group, versions[group], plural)
            for subject, (group, plural) in _KINDS.items()
            if group in versions
        },
        "jobs": partial(_jobs, namespace),
        "pods": partial(_pods, namespace),
    }


@contextmanager
def _api(action: str) -> Iterator[Any]:
    """The client of the current context.

    Raises:
        ConfigurationError: there is no context, or it lacks the right to `action`.
        StageError: the cluster does not answer.
    """
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    try:
        config.load_kube_config()
    except (config.ConfigException, OSError) as error:
        raise ConfigurationError(f"no cluster to ask ({error}): set KUBECONFIG, or choose a context") from error
    settings = client.Configuration.get_default_copy()
    settings.retries = 0
    with client.ApiClient(settings) as connection:
        try:
            yield connection
        except client.ApiException as error:
            if error.status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
                raise ConfigurationError(f"the cluster does not allow to {action}: {error.reason}") from error
            raise StageError(f"the cluster cannot {action}: {error.reason}") from error
        except HTTPError as error:
            raise StageError(f"the cluster at {settings.host} does not answer: {error}") from error


def _operators(namespace: str, versions: dict[str, str]) -> Iterator[Finding]:
    unknown = {group for group, _ in _KINDS.values()} - versions.keys()
    missing = unknown - _external(namespace) if unknown else unknown
    for group in sorted(missing):
        yield Finding(State.WRONG, f"no resources of {group} are known", "`make operators` installs the operators")
    if not unknown:
        yield Finding(State.GOOD, "the resources of Strimzi, MinIO and Spark are known")
    elif not missing:
        yield Finding(State.GOOD, f"no resources of {', '.join(sorted(unknown))} are known, nor needed: external")


def _external(namespace: str) -> set[str]:
    """API groups of the operators whose part is an external one to the platform that is installed in `namespace`."""
    from kubernetes.client import CoreV1Api

    with _api(f"list configmaps in {namespace}") as api:
        maps = CoreV1Api(api).list_namespaced_config_map(
            namespace, label_selector="app.kubernetes.io/part-of=ticklake", _request_timeout=_TIMEOUT_SECONDS
        )
    settings = next((each.data or {} for each in maps.items if each.metadata.name.endswith("-settings")), {})
    return {
        group
        for group, (name, own) in _ADDRESSES.items()
        if name in settings and own.format(namespace=namespace) not in settings[name]
    }


def _resources(namespace: str, group: str, version: str, plural: str) -> Iterator[Finding]:
    from kubernetes.client import CustomObjectsApi

    with _api(f"list {plural} in {namespace}") as api:
        found = CustomObjectsApi(api).list_namespaced_custom_object(
            group, version, namespace, plural, _request_timeout=_TIMEOUT_SECONDS
        )["items"]
    bad = 0
    for item in found:
        if (trouble := _trouble(plural, item)) is not None:
            bad += 1
            name, (text, remedy) = item["metadata"]["name"], trouble
            yield Finding(State.WRONG, f"{name}: {text}", remedy.format(namespace=namespace, name=name))
    if not bad:
        yield Finding(State.GOOD, f"{len(found)} in {namespace}" if found else f"none in {namespace}")


def _trouble(plural: str, item: dict[str, Any]) -> tuple[str, str] | None:
    """What is wrong with a resource, and what to do about it."""
    status = item.get("status") or {}
    age = datetime.now(UTC) - datetime.fromisoformat(item["metadata"]["creationTimestamp"])
    if plural == "sparkapplications":
        state = (status.get("applicationState") or {}).get("state", "")
        if state in _SPARK_FAILED:
            text = status["applicationState"].get("errorMessage") or "no reason is given"
            return f"{state}: {text}", "kubectl -n {namespace} logs {name}-driver"
        if state or age < _PATIENCE:
            return None
        return "no operator has given it a state", (
            "kubectl -n spark-operator logs deploy/spark-operator-controller: does it watch {namespace} "
            "(spark.jobNamespaces)?"
        )
    if plural == "tenants":
        state = status.get("currentState", "")
        if state == _TENANT_READY or (not state and age < _PATIENCE):
            return None
        return state or "no operator has given it a state", "kubectl -n {namespace} describe tenant {name}"
    ready: dict[str, str] = next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})
    if ready.get("status") == "True" or (not ready and age < _PATIENCE):
        return None
    text = ready.get("message") or ready.get("reason") or "no operator has given it a state"
    return text, f"kubectl -n {{namespace}} describe {plural.removesuffix('s')} {{name}}"


def _jobs(namespace: str) -> Iterator[Finding]:
    from kubernetes.client import BatchV1Api

    with _api(f"list jobs in {namespace}") as api:
        jobs = BatchV1Api(api).list_namespaced_job(namespace, _request_timeout=_TIMEOUT_SECONDS).items
    bad = 0
    for job in jobs:
        for condition in job.status.conditions or ():
            if condition.type == "Failed" and condition.status == "True":
                bad += 1
                name = job.metadata.name
                yield Finding(State.WRONG, f"{name}: {condition.message}", f"kubectl -n {namespace} logs job/{name}")
    if not bad:
        yield Finding(State.GOOD, f"{len(jobs)} in {namespace}, none failed")


def _pods(namespace: str) -> Iterator[Finding]:
    from kubernetes.client import CoreV1Api

    with _api(f"list pods in {namespace}") as api:
        pods = CoreV1Api(api).list_namespaced_pod(namespace, _request_timeout=_TIMEOUT_SECONDS).items
    if not pods:
        yield Finding(
            State.WRONG,
            f"none in {namespace}",
            "`make deploy` installs the platform; another namespace: --cluster NAME",
        )
        return
    bad = 0
    for pod in pods:
        for text, remedy in _pod_troubles(pod):
            bad += 1
            yield Finding(State.WRONG, f"{pod.metadata.name}: {text}", f"kubectl -n {namespace} {remedy}")
    if not bad:
        yield Finding(State.GOOD, f"{len(pods)} in {namespace}, none in trouble")


def _pod_troubles(pod: Any) -> Iterator[tuple[str, str]]:
    name, describe = pod.metadata.name, f"describe pod {pod.metadata.name}"
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            yield f"no node has room for it: {condition.message}", describe
    for container in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
        waiting = container.state.waiting
        ended = container.state.terminated or container.last_state.terminated
        logs = f"logs {name} -c {container.name}"
        if waiting is not None and waiting.reason in _PULL:
            yield f"the image {container.image} cannot be pulled", describe
        elif waiting is not None and waiting.reason == "CreateContainerConfigError":
            yield f"{container.name} cannot be started: {waiting.message}", describe
        elif ended is not None and ended.reason == "OOMKilled":
            yield f"{container.name} took more memory than its limit", f"{describe}; raise its memory in the values"
        elif _crashes(pod, container):
            code = ended.exit_code if ended is not None else "?"
            yield f"{container.name} ends again and again, last with exit code {code}", f"{logs} --previous"
        elif container.state.terminated is not None and ended.exit_code != 0:
            yield f"{container.name} ended with exit code {ended.exit_code}", logs
        elif container.started and not container.ready and _long_unready(pod):
            yield f"{container.name} runs but is not ready", logs


def _crashes(pod: Any, container: Any) -> bool:
    """Whether a container waits for another start, or is at one of many that brought nothing."""
    waiting, ended = container.state.waiting, container.last_state.terminated
    if waiting is not None:
        return bool(waiting.reason == "CrashLoopBackOff")
    failed = container.state.running is not None and ended is not None and ended.exit_code != 0
    return bool(failed and not container.ready and _long_unready(pod))


def _long_unready(pod: Any) -> bool:
    """Whether a pod was not ready for longer than a start or a short absence of a server takes."""
    since = [each.last_transition_time for each in pod.status.conditions or () if each.type == "Ready"]
    return any(datetime.now(UTC) - moment > _PATIENCE for moment in since)
