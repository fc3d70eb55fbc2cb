"""Install the platform on the cluster that KUBECONFIG names, run the pipeline in Airflow, and count rows everywhere."""

import argparse
import sys
from pathlib import Path

from tests.e2e.cluster.tools import TrialFailed, has_crd
from tests.e2e.cluster.trial import DAG, Trial

OPERATORS = {"kafka": "kafkas.kafka.strimzi.io", "store": "tenants.minio.min.io"}
"""Parts, and the kind of object by which an operator's presence shows."""


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make e2e ARGS=…", description=__doc__)
    parser.add_argument("--namespace", default="ticklake-e2e")
    parser.add_argument("--tag", default="0.1.0", help="tag of the images")
    parser.add_argument("--load", default="kind load docker-image", help="command that hands an image to the nodes")
    parser.add_argument("--skip-build", action="store_true", help="the images are there already")
    parser.add_argument(
        "--plain", choices=("kafka", "store", "none"), action="append",
        help="part to run as a plain pod (again for another, or none); by default what has no operator here",
    )  # fmt: skip
    parser.add_argument(
        "--airflow-chart", default="airflow --repo https://airflow.apache.org --version 1.22.0",
        help="where helm finds Airflow's chart",
    )  # fmt: skip
    parser.add_argument("--airflow-values", action="append", default=[], help="further values for it")
    parser.add_argument(
        "--prometheus",
        default="{}",
        help='of its version and image, e.g. "{version: v3.5.0, image: example/prometheus}"',
    )
    parser.add_argument("--alertmanager", default="{}", help="the same of Alertmanager")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds for the pipeline's run")
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="folder for files of the trial")
    found = parser.parse_args()
    if found.plain is None:
        found.plain = [part for part, crd in OPERATORS.items() if not has_crd(crd)]
    found.plain = [part for part in found.plain if part != "none"]
    found.monitoring = has_crd("prometheuses.monitoring.coreos.com")
    return found


def main() -> None:
    """Run the trial; exit code 1 and one message where something is not as it must be."""
    try:
        asked = options()
        trial = Trial(asked)
        if not has_crd("sparkapplications.sparkoperator.k8s.io"):
            raise TrialFailed("this cluster has no Spark operator: install it, see README.md")
        with trial.step("Images"):
            trial.images()
        with trial.step(f"Plain pods: {', '.join([*trial.plain, 'warehouse'])}"):
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
        with trial.step("Dashboard"):
            trial.dashboard(run_id)
        if asked.monitoring:
            with trial.step("Monitoring"):
                trial.monitoring()
        with trial.step("Upgrade"):
            trial.upgrade()
        if not asked.keep:
            with trial.step("Removal"):
                trial.remove()
    except TrialFailed as failure:
        print(f"e2e: {failure}", file=sys.stderr)
        sys.exit(1)
    print("e2e: passed")


if __name__ == "__main__":
    main()
