"""Connections that the network policies forbid, tried from pods that carry the labels of stages."""

import json
from typing import TYPE_CHECKING, Any

from tests.e2e.cluster.tools import Cluster, TrialFailed, run

if TYPE_CHECKING:
    from tests.e2e.cluster.trial import Trial

_CLIENT = """
import socket, sys
for target in sys.argv[1:]:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 4).close()
        print(target, "open")
    except socket.gaierror:
        print(target, "unknown")
    except OSError:
        print(target, "closed")  # some networks drop what is forbidden, others refuse it as if nobody listened
"""
METADATA = "169.254.169.254:80"
"""Where the machines of most clouds answer with their keys."""
_INNER = {"warehouse": 8080, "catalog": 5432}
"""Servers that no other namespace may reach."""


def check(trial: "Trial") -> None:
    """Try them; where this cluster's network enforces no policy, say so.

    Raises:
        TrialFailed: the network enforces policies, and a forbidden connection was open or a needed one closed.
    """
    api, node, warehouse = _api_server(), f"{_node_address()}:10250", "ticklake-warehouse:8080"
    dashboard, catalog = _pod_address(trial, "dashboard", 8000), "ticklake-catalog:5432"
    forbidden = {
        "validate-raw": [api, METADATA, node, dashboard],
        "consume-historical": [api, METADATA, node, warehouse, catalog],
        "fetch-historical": [api, METADATA, node, warehouse, "airflow-postgresql:5432", dashboard],
        "stream-ticks": [api, METADATA, node, warehouse, "airflow-postgresql:5432"],
        "load-warehouse": [api, METADATA, node, "airflow-postgresql:5432", dashboard],
        "stranger": [api, METADATA, node, warehouse, "airflow-api-server:8080", dashboard, catalog],
    }
    # The same servers are open to whom they are for, so that there is something to refuse.
    allowed = {"load-warehouse": [warehouse, catalog], "validate-raw": [catalog], "consume-historical": list[str]()}
    tls = trial.options.profile == "production"
    if "store" not in trial.plain:
        store = f"minio:{443 if tls else 80}"
        forbidden["stranger"].append(store)
        allowed["consume-historical"].append(store)
    if "kafka" not in trial.plain:
        kafka = f"ticklake-kafka-bootstrap:{9093 if tls else 9092}"
        for stage in ("validate-raw", "load-warehouse", "stranger"):
            forbidden[stage].append(kafka)
        allowed["consume-historical"].append(kafka)
    found = _tried(
        trial.platform,
        trial.options.tag,
        {stage: [*targets, *allowed.get(stage, [])] for stage, targets in forbidden.items()},
    )
    # A pod that no policy is about: what it does not reach either, no policy has refused to the others.
    trial.parts.ensure_namespace()
    inner = [f"ticklake-{part}.{trial.platform.namespace}.svc:{port}" for part, port in _INNER.items()]
    free = _tried(trial.parts, trial.options.tag, {"free": [api, METADATA, node, *inner]})["free"]
    if found["stranger"]["airflow-api-server:8080"] == "open":
        print("  NOT CHECKED: this cluster's network does not enforce policies")
        return
    for stage, states in {**found, "free (in another namespace)": free}.items():
        print(f"  {stage}: {', '.join(f'{target} {state}' for target, state in states.items())}")
    unproven = [target for target in (api, METADATA, node) if free[target] != "open"]
    if unproven:
        print(f"  NOT PROVEN, as nothing answers there: {', '.join(unproven)}")
    wrong = [
        f"{stage} -> {target} is {state}"
        for stage, states in found.items()
        for target, state in states.items()
        if state != ("open" if target in allowed.get(stage, []) else "closed")
    ]
    wrong += [f"another namespace -> {target} is {free[target]}" for target in inner if free[target] != "closed"]
    if wrong:
        raise TrialFailed("network policies:\n  " + "\n  ".join(wrong))


def _tried(cluster: Cluster, tag: str, targets: dict[str, list[str]]) -> dict[str, dict[str, str]]:
    """What each stage's pod found of its targets: `open`, `closed`, or `unknown` for a name that does not resolve."""
    pods = [_pod(f"try-{stage}", stage, wanted, tag) for stage, wanted in targets.items()]
    names = [f"pod/{pod['metadata']['name']}" for pod in pods]
    cluster.kubectl("delete", *names, "--ignore-not-found", "--wait")
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
    cluster.kubectl("wait", *names, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=300s")
    found = {}
    for stage in targets:
        lines = cluster.kubectl("logs", f"try-{stage}", "-c", "try").splitlines()
        found[stage] = dict(line.split() for line in lines)
    cluster.kubectl("delete", *names, "--wait=false")
    return found


def _pod(name: str, stage: str, targets: list[str], tag: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": stage, "app.kubernetes.io/name": "ticklake"}
    container = {
        "name": "try",
        "image": f"ticklake/provision-store:{tag}",
        "command": ["python", "-c", _CLIENT, *targets],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels | {"app.kubernetes.io/instance": "ticklake"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [container],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            # So that the policies of a pod that is new are in force.
            "initContainers": [container | {"name": "wait", "command": ["sleep", "8"]}],
        },
    }


def _api_server() -> str:
    service = json.loads(run("kubectl", "get", "service", "kubernetes", "-n", "default", "-o", "json"))["spec"]
    return f"{service['clusterIP']}:{service['ports'][0]['port']}"


def _node_address() -> str:
    nodes = json.loads(run("kubectl", "get", "nodes", "-o", "json"))["items"]
    return next(each["address"] for each in nodes[0]["status"]["addresses"] if each["type"] == "InternalIP")


def _pod_address(trial: "Trial", component: str, port: int) -> str:
    label = f"app.kubernetes.io/component={component}"
    address = trial.platform.kubectl("get", "pods", "-l", label, "-o", "jsonpath={.items[0].status.podIP}")
    return f"{address}:{port}"
