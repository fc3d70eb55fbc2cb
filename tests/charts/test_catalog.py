"""The catalog of the tables: its own server, its users, and who gets which of them."""

import base64
from collections.abc import Callable
from pathlib import Path

from chart_objects import SNOWFLAKE, VALUE_SETS, Manifest, PodTemplate, find, pods, render, users

Rendered = Callable[[str], list[Manifest]]

WRITERS = users("table", write=True) | {
    "stream-analytics driver",
    "stream-analytics executor",
    "rebuild-windows driver",
    "rebuild-windows executor",
    "tick-bars",
    "maintain-tables",
}
READERS = users("table") - WRITERS | {
    "load-live",
    "dashboard",
    "batch-exporter",
    "stream-ticks",
}


def _component(pod: PodTemplate) -> str:
    return f"{pod.labels['app.kubernetes.io/component']} {pod.labels.get('spark-role', '')}".strip()


def _variables(objects: list[Manifest]) -> dict[str, dict[str, str]]:
    """What each component's pod has set of the catalog: values, or `secret/key`, with a `?` where it may be missing."""
    found = {}
    for pod in pods(objects):
        variables = {}
        for each in pod.spec["containers"][0].get("env", ()):
            reference = each.get("valueFrom", {}).get("secretKeyRef", {})
            secret = f"{reference.get('name')}/{reference.get('key')}{'?' if reference.get('optional') else ''}"
            if each["name"].startswith("TICKLAKE_CATALOG_"):
                variables[each["name"].removeprefix("TICKLAKE_CATALOG_")] = each.get("value", secret)
        if variables:
            found[_component(pod)] = variables
    return found


def test_writers_and_readers(rendered: Rendered) -> None:
    def of(role: str) -> dict[str, str]:
        secret = f"ticklake-catalog-{role}"
        uri = "postgresql://ticklake-catalog.ticklake.svc:5432/catalog"
        return {"URI": uri, "USER": f"{secret}/username", "PASSWORD": f"{secret}/password"}

    wanted = dict.fromkeys(WRITERS, of("writer")) | dict.fromkeys(READERS, of("reader"))
    assert _variables(rendered("production")) == wanted
    assert set(_variables(rendered("default"))) == set(wanted) - {"batch-exporter"}


def test_an_external_postgresql(rendered: Rendered) -> None:
    found = _variables(rendered("external"))
    assert found["validate-raw"] == {
        "URI": "postgresql://catalog.example.com/catalog",
        "USER": "catalog-writer/username",
        "PASSWORD": "catalog-writer/password",
    }
    assert found["dashboard"]["PASSWORD"] == "catalog-reader/password"
    assert not [each for each in rendered("external") if each["metadata"]["name"].startswith("ticklake-catalog")]


REST = ("--set", "catalog.external.enabled=true,catalog.external.uri=https://polaris.example.com/api/catalog")


def test_a_rest_catalog(helm: Path) -> None:
    found = _variables(
        render(
            helm,
            *SNOWFLAKE,
            *REST,
            "--set",
            "catalog.external.warehouse=lake",
            "--set",
            "catalog.external.existingSecrets.writer=w,catalog.external.existingSecrets.reader=r",
        )
    )
    for component, secret in (("daily-analytics executor", "w"), ("fetch-historical", "r")):
        assert found[component] == {
            "URI": "https://polaris.example.com/api/catalog",
            "WAREHOUSE": "lake",
            "CREDENTIAL": f"{secret}/credential?",
            "TOKEN": f"{secret}/token?",
        }


def test_a_rest_catalog_without_a_sign_in(helm: Path) -> None:
    assert _variables(render(helm, *SNOWFLAKE, *REST))["dashboard"] == {
        "URI": "https://polaris.example.com/api/catalog"
    }


def test_the_users_of_the_server(rendered: Rendered) -> None:
    objects = rendered("default")
    users, passwords = {}, set()
    for role in ("owner", "writer", "reader"):
        secret = find(objects, "Secret", f"ticklake-catalog-{role}")
        data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        users[role] = data["username"]
        passwords.add(data["password"])
        assert len(data["password"]) == 40
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert users == {"owner": "postgres", "writer": "ticklake-writer", "reader": "ticklake-reader"}
    assert len(passwords) == 3


def test_the_server(rendered: Rendered) -> None:
    objects = rendered("default")
    spec = find(objects, "StatefulSet", "ticklake-catalog")["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    pod = spec["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 999
    (container,) = pod["containers"]
    assert container["image"] == "postgres:16.10-bookworm"
    # A read-only root file system: these alone can be written to.
    writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"/tmp", "/var/run/postgresql", "/var/lib/postgresql/data"}
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert values["PGHOST"] in writable
    assert Path(values["PGDATA"]).parent == Path("/var/lib/postgresql/data")
    service = find(objects, "Service", "ticklake-catalog")["spec"]
    assert service["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert service["ports"][0]["port"] == 5432


def test_another_password_starts_the_server_anew(helm: Path, rendered: Rendered) -> None:
    """It is laid down at a start. Without a cluster each rendering makes other passwords."""

    def annotation(objects: list[Manifest]) -> str:
        template = find(objects, "StatefulSet", "ticklake-catalog")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/start"])

    assert annotation(rendered("default")) != annotation(render(helm, *VALUE_SETS["default"]))
