"""Connections that the network policies forbid, tried from pods that carry the labels of stages."""

import json
from typing import TYPE_CHECKING

from tests.e2e.cluster.tools import TrialFailed, run

if TYPE_CHECKING:
    from tests.e2e.cluster.trial import Trial

_CLIENT = """
import socket, sys
for target in sys.argv[1:]:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 4).close()
        print(target, "open")
    except ConnectionRefusedError:
        print(target, "open")  # the packet arrived, and nobody listened
    except OSError as error:
        print(target, "closed", error)
"""
METADATA = "169.254.169.254:80"


def check(trial: "Trial") -> None:
    """Try them; where this cluster's network enforces no policy, say so.

    Raises:
        TrialFailed: the network enforces policies, and a forbidden connection was open or a needed one closed.
    """
    api = _api_server()
    dashboard = _address(trial, "ticklake-dashboard", 8000)
    outside = f"{_node_address()}:10250"
    forbidden = {
        "validate-raw": [api, METADATA, outside, dashboard],
        "consume-historical": [api, METADATA, "ticklake-warehouse:8080", outside],
        "fetch-historical": [api, METADATA, "ticklake-warehouse:8080", "airflow-postgresql:5432", dashboard],
        "stream-ticks": [api, METADATA, "ticklake-warehouse:8080", "airflow-postgresql:5432"],
        "load-warehouse": [api, METADATA, "airflow-postgresql:5432", dashboard],
        "stranger": [api, METADATA, "ticklake-warehouse:8080", "airflow-api-server:8080", dashboard],
    }
    if "store" not in trial.plain:
        forbidden["stranger"].append("minio:80")
    if "kafka" not in trial.plain:
        forbidden["validate-raw"].append("ticklake-kafka-bootstrap:9092")
        forbidden["load-warehouse"].append("ticklake-kafka-bootstrap:9092")
    allowed = {"load-warehouse": ["ticklake-warehouse:8080"]}
    found = {stage: _tried(trial, stage, [*targets, *allowed.get(stage, [])]) for stage, targets in forbidden.items()}
    if found["stranger"].get("airflow-api-server:8080") == "open":
        print("  NOT CHECKED: this cluster's network does not enforce policies")
        return
    wrong = [
        f"{stage} -> {target} is {state}"
        for stage, states in found.items() for target, state in states.items()
        if (state == "open") is not (target in allowed.get(stage, []))
    ]  # fmt: skip
    for stage, states in found.items():
        print(f"  {stage}: {', '.join(f'{target} {state}' for target, state in states.items())}")
    if wrong:
        raise TrialFailed("network policies:\n  " + "\n  ".join(wrong))


def _tried(trial: "Trial", stage: str, targets: list[str]) -> dict[str, str]:
    name = f"try-{stage}"
    labels = {"app.kubernetes.io/component": stage, "app.kubernetes.io/name": "ticklake"}
    container = {
        "name": "try", "image": f"ticklake/provision-store:{trial.options.tag}",
        "command": ["python", "-c", _CLIENT, *targets],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    pod = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": labels | {"app.kubernetes.io/instance": "ticklake"}},
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            # So that the policies of a pod that is new are in force.
            "initContainers": [container | {"name": "wait", "command": ["sleep", "8"]}],
        },
    }  # fmt: skip
    trial.platform.kubectl("delete", "pod", name, "--ignore-not-found", "--wait")
    trial.platform.apply(json.dumps(pod))
    trial.platform.kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s")
    lines = trial.platform.kubectl("logs", name, "-c", "try").splitlines()
    trial.platform.kubectl("delete", "pod", name, "--wait=false")
    return {target: state for target, state, *_ in (line.split() for line in lines)}


def _api_server() -> str:
    service = json.loads(run("kubectl", "get", "service", "kubernetes", "-n", "default", "-o", "json"))["spec"]
    return f"{service['clusterIP']}:{service['ports'][0]['port']}"


def _node_address() -> str:
    nodes = json.loads(run("kubectl", "get", "nodes", "-o", "json"))["items"]
    return next(each["address"] for each in nodes[0]["status"]["addresses"] if each["type"] == "InternalIP")


def _address(trial: "Trial", component: str, port: int) -> str:
    name = component.removeprefix("ticklake-")
    pods = trial.platform.kubectl(
        "get", "pods", "-l", f"app.kubernetes.io/component={name}", "-o", "jsonpath={.items[0].status.podIP}"
    )
    return f"{pods}:{port}"
