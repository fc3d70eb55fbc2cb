"""Checks objects against the Kubernetes API's own schemas and against custom resource definitions."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import quick_yaml
from chart_objects import Manifest
from jsonschema import Draft202012Validator

KUBERNETES = "1.34.0"

# Otherwise it reads the definitions of all kinds anew for each object.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)

_BESIDE = Path(__file__).parents[3] / "shared" / "crds"


class NoDefinitions(Exception):
    """The folder with the operators' definitions is not there."""


def definitions_folder() -> Path:
    """The folder of `TICKLAKE_CRDS`, else the one that may lie beside the project.

    Raises:
        NoDefinitions: neither is there, and none was asked for.
        FileNotFoundError: the one asked for is not there.
    """
    if asked := os.environ.get("TICKLAKE_CRDS"):
        if not Path(asked).is_dir():
            raise FileNotFoundError(f"TICKLAKE_CRDS: no folder {asked}")
        return Path(asked)
    if not _BESIDE.is_dir():
        raise NoDefinitions(
            "set TICKLAKE_CRDS to a folder with the CustomResourceDefinitions of Strimzi, MinIO's and Spark's operator"
        )
    return _BESIDE


def api_errors(manifest: Manifest) -> list[str]:
    """What the Kubernetes API would not take of a built-in kind, unknown fields included."""
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"]
    return []


def is_custom(manifest: Manifest) -> bool:
    """Whether an operator defines this kind."""
    group = manifest["apiVersion"].rpartition("/")[0]
    return ("." in group and not group.endswith(".k8s.io")) or group == "sparkoperator.k8s.io"


def custom_errors(manifest: Manifest, folder: Path) -> list[str]:
    """What its definition does not allow, unknown fields included (an API server would drop those in silence)."""
    schema = _definitions(folder).get((manifest["apiVersion"], manifest["kind"]))
    if schema is None:
        return [f"no definition of {manifest['apiVersion']} {manifest['kind']}"]
    found = Draft202012Validator(schema).iter_errors(manifest)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in found]


@cache
def _definitions(folder: Path) -> dict[tuple[str, str], Any]:
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        for each in quick_yaml.load_all(file.read_text()):
            if not each or each["kind"] != "CustomResourceDefinition":
                continue
            spec = each["spec"]
            for version in spec["versions"]:
                if version["served"]:
                    name = f"{spec['group']}/{version['name']}"
                    found[name, spec["names"]["kind"]] = _strict(version["schema"]["openAPIV3Schema"])
    return found


_CONDITIONS = ("oneOf", "anyOf", "allOf", "not")


def _strict(schema: Any, *, closed: bool = True) -> Any:
    """The schema in JSON Schema's words; where `closed`, fields that it does not name are forbidden.

    A condition names only the fields that it is about, so it forbids none.
    """
    if isinstance(schema, list):
        return [_strict(each, closed=closed) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: _strict(value, closed=closed and key not in _CONDITIONS)
        for key, value in schema.items()
        if key not in ("properties", "format", "default")
    }
    if "properties" in schema:
        result["properties"] = {name: _strict(each, closed=closed) for name, each in schema["properties"].items()}
        if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result["type"] = ["integer", "string"]
    if result.pop("nullable", False) and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    return result
