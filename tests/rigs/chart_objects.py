"""Renders the chart and finds the pods in what it rendered, wherever they are."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import quick_yaml

from ticklake.pipeline import BATCH_STAGES, Kind

CHART = Path(__file__).parents[2] / "charts" / "ticklake"
NAMESPACE = "ticklake"
RELEASE = "ticklake"
SNOWFLAKE = ("--set", "warehouse.account=acme-prod", "--set", "warehouse.existingSecret=snowflake")

VALUE_SETS: dict[str, tuple[str, ...]] = {
    "default": SNOWFLAKE,
    "kind": ("-f", str(CHART / "values-kind.yaml")),
    "production": ("-f", str(CHART / "values-production.yaml"), *SNOWFLAKE),
    "external": (
        "--set",
        "kafka.external.enabled=true",
        "--set",
        "kafka.external.bootstrapServers=k1.example.com:9094\\,k2.example.com:9094",
        "--set",
        "kafka.external.existingSecret=kafka-user",
        "--set",
        "kafka.external.ca.secret=kafka-ca",
        "--set",
        "store.external.enabled=true",
        "--set",
        "store.external.endpoint=https://s3.example.com:8443",
        "--set",
        "store.external.existingSecret=s3-user",
        "--set",
        "store.external.ca.secret=s3-ca",
        "--set",
        "catalog.external.enabled=true",
        "--set",
        "catalog.external.uri=postgresql://catalog.example.com/catalog",
        "--set",
        "catalog.external.existingSecrets.writer=catalog-writer",
        "--set",
        "catalog.external.existingSecrets.reader=catalog-reader",
        "--set",
        "warehouse.host=warehouse.example.com",
        "--set",
        "warehouse.port=8080",
        "--set",
        "warehouse.protocol=http",
        "--set",
        "warehouse.auth=password",
        "--set",
        "warehouse.existingSecret=snowflake",
        "--set",
        "settings.liveNamespace=trial",
    ),
}
"""Arguments of helm by the name of each set of values that is tested."""

Manifest = dict[str, Any]


@dataclass
class HelmFailed(Exception):
    """Helm failed; its output."""

    output: str


def render(helm: Path, *arguments: str) -> list[Manifest]:
    """All objects of the chart under these values.

    Raises:
        HelmFailed: it does not render.
    """
    command = [helm, "template", RELEASE, CHART, "--namespace", NAMESPACE, *arguments]
    # Go's garbage collector takes a quarter of so short a run; without it helm takes 150 MB.
    environment = {**os.environ, "GOGC": "off"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HelmFailed(done.stderr)
    return [each for each in quick_yaml.load_all(done.stdout) if each]


@dataclass(frozen=True)
class PodTemplate:
    """A pod that some object leads to."""

    where: str
    """Kind and name of the object; for a task, the program."""
    kind: str
    metadata: Manifest
    spec: Manifest
    sized: dict[str, Manifest] = field(default_factory=dict)
    """Containers whose cores and memory are set elsewhere (by the Spark operator): by name, from where."""

    @property
    def labels(self) -> dict[str, str]:
        return self.metadata.get("labels") or {}

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def pods(objects: Iterable[Manifest]) -> Iterator[PodTemplate]:
    """Every pod that the chart's own objects make or that Airflow makes from them; not those that operators make."""
    for each in objects:
        kind, name, spec = each["kind"], each["metadata"]["name"], each.get("spec", {})
        where = f"{kind}/{name}"
        if kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield _pod(where, kind, spec["template"])
        elif kind == "CronJob":
            yield _pod(where, kind, spec["jobTemplate"]["spec"]["template"])
        elif kind == "Pod":
            yield _pod(where, kind, each)
        elif kind == "SparkApplication":
            yield from _spark(where, spec)
        elif kind == "ConfigMap" and name.endswith("-tasks"):
            for program, manifest in tasks(each).items():
                if manifest["kind"] == "SparkApplication":
                    yield from _spark(f"task {program}", manifest["spec"])
                else:
                    yield _pod(f"task {program}", "Pod", manifest)


def tasks(config_map: Manifest) -> dict[str, Manifest]:
    """The manifests that Airflow submits, by program."""
    return {key.removesuffix(".yaml"): quick_yaml.load(text) for key, text in config_map["data"].items()}


def _pod(where: str, kind: str, template: Manifest) -> PodTemplate:
    return PodTemplate(where, kind, template["metadata"], template["spec"])


def _spark(where: str, spec: Manifest) -> Iterator[PodTemplate]:
    for role in ("driver", "executor"):
        template, name = spec[role]["template"], f"spark-kubernetes-{role}"
        pod = dict(template["spec"], serviceAccountName=spec[role]["serviceAccount"])
        yield PodTemplate(f"{where} {role}", "SparkApplication", template["metadata"], pod, {name: spec[role]})


def find(objects: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """The object of that kind and name."""
    return next(each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))


def users(kind: str | None = None, *, write: bool = False) -> set[str]:
    """The pods of the pipeline's stages; of those that read or write places of `kind`, or only write."""
    found = set()
    for stage in BATCH_STAGES:
        if kind is None or any(
            place.kind == kind for place in (stage.writes if write else (*stage.reads, *stage.writes))
        ):
            roles = (" driver", " executor") if stage.kind is Kind.SPARK else ("",)
            found |= {f"{stage.program}{role}" for role in roles}
    return found
