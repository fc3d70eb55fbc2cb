"""skaffold.yaml and kind-config.yaml against the rest of the tree."""

import re
from pathlib import Path
from typing import Any

import pytest
import quick_yaml

ROOT = Path(__file__).parents[2]
OWN = "ticklake/"
MODULES: dict[str, dict[str, Any]] = {
    module["metadata"]["name"]: module for module in quick_yaml.load_all((ROOT / "skaffold.yaml").read_text())
}
ENVIRONMENT = dict(
    line.split("=", 1) for line in (ROOT / "skaffold.env").read_text().splitlines() if line and not line.startswith("#")
)
VALUES = quick_yaml.load((ROOT / "charts/ticklake/values.yaml").read_text())


def releases(module: str) -> dict[str, dict[str, Any]]:
    return {release["name"]: release for release in MODULES[module]["deploy"]["helm"]["releases"]}


def artifacts() -> dict[str, dict[str, Any]]:
    return {
        artifact["image"]: artifact["docker"]
        for module in MODULES.values()
        for artifact in module.get("build", {}).get("artifacts", [])
    }


def test_operators_come_first_and_are_waited_for() -> None:
    assert list(MODULES) == ["operators", "ticklake", "airflow"]
    # With `requires`, the operators could not be left out where they are there already.
    assert not any("requires" in module for module in MODULES.values())
    assert set(releases("operators")) == {"strimzi", "minio-operator", "spark-operator"}
    assert all(release["wait"] for release in releases("operators").values())


def test_remote_charts_are_pinned_and_have_a_values_file_that_says_the_same() -> None:
    for module in ("operators", "airflow"):
        for release in releases(module).values():
            variable = re.fullmatch(r"\{\{\.(\w+_CHART_VERSION)\}\}", release["version"])
            assert variable
            version = ENVIRONMENT[variable[1]]
            (file,) = release["valuesFiles"]
            head = (ROOT / file).read_text().partition("\n\n")[0]
            for part in (version, release["repo"], f"-n {release['namespace']} ", release["remoteChart"]):
                assert part in head, f"{file} documents another way to install it: {part}"


def test_every_own_image_is_built_and_handed_to_the_charts() -> None:
    built = set(artifacts())
    named = {name: image["repository"] for name, image in VALUES["images"].items()}
    own = {name: repository for name, repository in named.items() if repository.startswith(OWN)}
    assert built == set(own.values())
    given = releases("ticklake")["ticklake"]["setValueTemplates"]
    expected = {
        f"images.{name}.{field}": "{{" + f".IMAGE_{part}_{re.sub('[/-]', '_', repository)}" + "}}"
        for name, repository in own.items()
        for field, part in (("repository", "REPO"), ("tag", "TAG"), ("digest", "DIGEST"))
    }
    assert given == expected
    airflow = releases("airflow")["airflow"]["setValueTemplates"]
    assert airflow["images.airflow.repository"] == "{{.IMAGE_REPO_ticklake_airflow_dags}}"


@pytest.mark.parametrize("image", sorted(artifacts()))
def test_builds_are_those_of_make(image: str) -> None:
    docker = artifacts()[image]
    text = (ROOT / docker["dockerfile"]).read_text()
    arguments = docker["buildArgs"]
    wanted = set(re.findall(r"^ARG (\w+)", text, re.MULTILINE)) - {
        "PIP_INDEX_URL",
        "UV_DEFAULT_INDEX",
        "JAVA_TOOL_OPTIONS",
    }
    assert set(arguments) == wanted
    assert arguments.get("SERVICE", image.removeprefix(OWN)) == image.removeprefix(OWN)
    for name in wanted - {"SERVICE", "LIBRARY"}:
        assert arguments[name] == "{{." + name + "}}"
        assert name in ENVIRONMENT
    live = image.removeprefix(OWN) in ("stream-ticks", "archive-ticks", "market-alerts", "batch-exporter", "dashboard")
    assert docker.get("target") == ({True: "live", False: "batch"}[live] if "SERVICE" in arguments else None)


def test_profiles_name_value_files_that_are_there() -> None:
    profiles = {profile["name"]: profile for profile in MODULES["ticklake"]["profiles"]}
    assert set(profiles) == {"kind", "production"}
    for name, profile in profiles.items():
        files = [patch["value"] for patch in profile["patches"] if patch["path"].endswith("valuesFiles")]
        assert files == [[f"charts/ticklake/values-{name}.yaml"]]
        assert (ROOT / files[0][0]).is_file()


def test_the_chart_s_tags_are_the_version_that_make_builds() -> None:
    chart = quick_yaml.load((ROOT / "charts/ticklake/Chart.yaml").read_text())
    assert chart["appVersion"] == ENVIRONMENT["VERSION"]
    tags = {name: image["tag"] for name, image in VALUES["images"].items() if image["repository"].startswith(OWN)}
    assert set(tags.values()) == {ENVIRONMENT["VERSION"]}
    airflow = quick_yaml.load((ROOT / "charts/values-airflow.yaml").read_text())
    assert airflow["images"]["airflow"]["tag"] == ENVIRONMENT["VERSION"]
    assert f":{airflow['airflowVersion']}-" in ENVIRONMENT["AIRFLOW_IMAGE"]


def test_kind_has_one_control_plane_and_workers_in_zones() -> None:
    cluster = quick_yaml.load((ROOT / "kind-config.yaml").read_text())
    roles = [node["role"] for node in cluster["nodes"]]
    assert roles.count("control-plane") == 1
    zones = {node["labels"]["topology.kubernetes.io/zone"] for node in cluster["nodes"] if node["role"] == "worker"}
    assert len(zones) == roles.count("worker") >= 2
