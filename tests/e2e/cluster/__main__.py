"""Install the platform on the cluster of KUBECONFIG, run its pipeline, break what breaks in practice, count rows."""

import argparse
import sys

from tests.e2e.cluster import faults, flows, needs
from tests.e2e.cluster.tools import TrialFailed, has_crd
from tests.e2e.cluster.trial import DAG, Trial

OPERATORS = {"kafka": "kafkas.kafka.strimzi.io", "store": "tenants.minio.min.io"}
"""Parts, and the kind of object by which an operator's presence shows."""


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make e2e ARGS=…", description=__doc__)
    parser.add_argument("--namespace", default="ticklake-e2e")
    parser.add_argument("--tag", default="0.1.0", help="tag of the images")
    parser.add_argument(
        "--load", help="command that hands an image to the nodes; by default that of kind, k3d, minikube"
    )
    parser.add_argument("--skip-build", action="store_true", help="the images are there already")
    parser.add_argument(
        "--plain",
        choices=("kafka", "store", "none"),
        action="append",
        help="part to run as a plain pod (again for another, or none); by default what has no operator here",
    )
    parser.add_argument(
        "--profile",
        choices=("kind", "production"),
        default="kind",
        help="the values to install with; production's with the resources of one small node",
    )
    parser.add_argument("--values", action="append", default=[], help="further values for the platform's chart")
    parser.add_argument("--airflow-values", action="append", default=[], help="further values for Airflow's chart")
    parser.add_argument(
        "--prometheus",
        default="{}",
        help='of its version and image, e.g. "{version: v3.5.0, image: example/prometheus}"',
    )
    parser.add_argument("--alertmanager", default="{}", help="the same of Alertmanager")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds for the pipeline's run")
    parser.add_argument("--no-faults", action="store_true", help="leave out what is broken on purpose")
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    found = parser.parse_args()
    if found.load is None:
        found.load = needs.load_command()
    return found


def main() -> None:
    """Run the trial; exit code 1 and one message where something is not as it must be."""
    try:
        asked = options()
        needs.check(skip_build=asked.skip_build, load=asked.load)
        if asked.plain is None:
            asked.plain = [part for part, crd in OPERATORS.items() if not has_crd(crd)]
        asked.plain = [part for part in asked.plain if part != "none"]
        asked.monitoring = has_crd("prometheuses.monitoring.coreos.com")
        run(Trial(asked))
    except TrialFailed as failure:
        print(f"e2e: {failure}", file=sys.stderr)
        sys.exit(1)
    print("e2e: passed")


def run(trial: Trial) -> None:
    """All steps in order."""
    asked = trial.options
    with trial.step("Images"):
        trial.images()
    if trial.plain or asked.monitoring:
        with trial.step(f"Beside it: {', '.join([*trial.plain, *['Prometheus'] * asked.monitoring])}"):
            trial.start_parts()
    with trial.step("Chart ticklake"):
        trial.install()
    with trial.step("Chart airflow"):
        trial.install_airflow()
    with trial.step("helm test"):
        trial.helm_test()
    with trial.step(f"DAG {DAG}"):
        run_id = trial.pipeline()
    with trial.step("Rows in the lake and the warehouse"):
        trial.count(run_id)
    with trial.step("Live ticks"):
        trial.live()
    with trial.step("The other DAGs"):
        trial.other_dags()
    with trial.step("Dashboard"):
        trial.dashboard(run_id)
    with trial.step("Forbidden flows"):
        flows.check(trial)
    if asked.monitoring:
        with trial.step("Monitoring"):
            trial.monitoring()
    if not asked.no_faults:
        for what, fault in faults.of(trial).items():
            with trial.step(what):
                fault(trial)
    with trial.step("Upgrade"):
        trial.upgrade()
    if not asked.keep:
        with trial.step("Removal"):
            trial.remove()


if __name__ == "__main__":
    main()
