"""`charts/preflight.sh` against tools that say what a test wants: versions, nodes, storage classes."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "charts" / "preflight.sh"
KUBECTL = """#!/bin/sh
case "$*" in
    *"get nodes"*) printf '%s' "$NODES"; exit "${ANSWERS:-0}" ;;
    *"current-context"*) echo "${CONTEXT:-somewhere}" ;;
    *"get storageclass"*) echo "$CLASSES" ;;
esac
"""
HELM = '#!/bin/sh\necho "$HELM_IS"\n'
NODE = "v1.34.4 24643816Ki 4\n"
WELL = {"NODES": NODE, "CLASSES": "true", "HELM_IS": "v3.19.0"}


def preflight(folder: Path, **facts: str) -> tuple[int, list[str]]:
    """Exit code and lines."""
    for name, text in (("kubectl", KUBECTL), ("helm", HELM)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **WELL, **facts}
    done = subprocess.run(["sh", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"HELM_IS": "v4.0.1"},
        {"NODES": NODE.replace("v1.34.4", "v1.31.4+k3s1")},
        {"NODES": "v1.34.4 5Gi 1900m\n" * 2},
        {"NODES": "v1.34.4 12582912Ki 4\n" * 3, "CONTEXT": "kind-ticklake"},
        {"CLASSES": "false true"},
    ],
)
def test_what_will_do(tmp_path: Path, facts: dict[str, str]) -> None:
    assert preflight(tmp_path, **facts) == (0, [])


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"HELM_IS": "v3.9.4"}, "helm is v3.9.4; needed is 3.18 or newer"),
        ({"NODES": NODE.replace("1.34", "1.29")}, "Kubernetes is v1.29.4; needed is 1.30 or newer"),
        ({"NODES": "v1.34.4 5Gi 2\n"}, "the cluster has 5.0 GiB of memory for pods; needed are "),
        ({"NODES": "v1.34.4 24Gi 1500m\n"}, "the cluster has 1.5 CPUs; needed are 2"),
        ({"NODES": "v1.34.4 5Gi 4\n" * 3, "CONTEXT": "kind-ticklake"}, "the cluster has 5.0 GiB of memory for pods"),
        ({"CLASSES": "false"}, "the cluster has no default StorageClass"),
        ({"CLASSES": ""}, "the cluster has no default StorageClass"),
        ({"ANSWERS": "1", "NODES": ""}, "no cluster answers"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, facts: dict[str, str], line: str) -> None:
    code, (found,) = preflight(tmp_path, **facts)
    assert code == 1
    assert found.startswith(f"preflight: {line}")


def test_everything_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    code, lines = preflight(tmp_path, HELM_IS="v3.9.4", NODES="v1.29.0 1Gi 1\n", CLASSES="")
    assert (code, len(lines)) == (1, 5)
