"""What the trial needs of this machine and of the cluster, looked at before anything is installed."""

import shutil
import subprocess

from tests.e2e.cluster.tools import ROOT, TrialFailed, has_crd

_LOADERS = {"kind-": "kind load docker-image --name {0}", "k3d-": "k3d image import --cluster {0}"}


def load_command() -> str | None:
    """The command that hands an image to the nodes of the current context's cluster; None where none is known."""
    context = _output("kubectl", "config", "current-context") or ""
    for prefix, command in _LOADERS.items():
        if context.startswith(prefix):
            return command.format(context.removeprefix(prefix))
    return "minikube image load" if context == "minikube" else None


def check(*, skip_build: bool, load: str | None) -> None:
    """Raise TrialFailed with all that is missing, a line each."""
    missing = _of_machine(skip_build=skip_build, load=load) + _of_cluster()
    if missing:
        raise TrialFailed("\n  ".join(["this is missing:", *missing]))


def _of_machine(*, skip_build: bool, load: str | None) -> list[str]:
    found: list[str] = []
    if skip_build:
        return found
    if _output("docker", "version", "--format", "{{.Server.Version}}") is None:
        found.append("a Docker engine to build the images with (or --skip-build, where the cluster has them)")
    if load is None:
        found.append(
            "a way to hand images to the nodes, known for kind, k3d and minikube only: a command that gets an image's "
            "name, ARGS='--load \"COMMAND\"' (or --skip-build)"
        )
    elif not shutil.which(load.split()[0]):
        found.append(f"{load.split()[0]}: install it, or name another command with --load")
    return found


def _of_cluster() -> list[str]:
    done = subprocess.run(["sh", ROOT / "charts/preflight.sh"], capture_output=True, text=True, check=False)
    if done.returncode:
        return [line.removeprefix("preflight: ") for line in done.stderr.splitlines()]
    found = []
    if not has_crd("sparkapplications.sparkoperator.k8s.io"):
        found.append("the Spark operator: `make operators`, or its command in charts/ticklake/README.md")
    if _output("helm", "show", "chart", *airflow_chart()) is None:
        found.append(f"Airflow's chart: helm cannot get {' '.join(airflow_chart())}")
    return found


def airflow_chart() -> list[str]:
    """Where helm finds Airflow's chart: the pinned version."""
    lines = (ROOT / "skaffold.env").read_text().splitlines()
    version = next(line.partition("=")[2] for line in lines if line.startswith("AIRFLOW_CHART_VERSION="))
    return ["airflow", "--repo", "https://airflow.apache.org", "--version", version]


def _output(*command: str) -> str | None:
    """What a command prints, None where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
