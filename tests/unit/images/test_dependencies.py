"""Each package asks for what its code imports, the library's extras among it, and for no extra beyond that."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PROJECTS = {
    tomllib.loads(path.read_text())["project"]["name"]: path.parent
    for pattern in ("services/*/pyproject.toml", "spark-apps/*/pyproject.toml", "airflow-dags/pyproject.toml")
    for path in ROOT.glob(pattern)
}
MODULES = {
    ".".join(file.relative_to(folder / "src").with_suffix("").parts).removesuffix(".__init__"): file
    for folder in PROJECTS.values()
    for file in (folder / "src").rglob("*.py")
}
DISTRIBUTIONS = packages_distributions()
ON_REQUEST = {("ticklake.tables", "pyarrow")}
"""Imports in a function that is called by those who have the package, in a module that others import for its names."""


def project(name: str) -> dict[str, Any]:
    return tomllib.loads((PROJECTS[name] / "pyproject.toml").read_text())


@cache
def asked(name: str, extra: str = "") -> tuple[Requirement, ...]:
    """What a distribution requires, or with `extra` what that adds."""
    if name in PROJECTS:
        table = project(name)["project"]
        lines = table.get("optional-dependencies", {})[extra] if extra else table["dependencies"]
        return tuple(map(Requirement, lines))
    found = map(Requirement, requires(name) or [])
    return tuple(
        each
        for each in found
        if (each.marker is None and not extra)
        or (
            each.marker
            and each.marker.evaluate({"extra": extra})
            and not (extra and each.marker.evaluate({"extra": ""}))
        )
    )


def closure(wanted: list[Requirement]) -> set[str]:
    """Names of all distributions that installing `wanted` brings."""
    found: set[tuple[str, str]] = set()
    rest = [(canonicalize_name(each.name), extra) for each in wanted for extra in ("", *each.extras)]
    while rest:
        name, extra = rest.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        rest += [(canonicalize_name(each.name), more) for each in asked(name, extra) for more in ("", *each.extras)]
    return {name for name, _ in found}


@cache
def imports(module: str) -> frozenset[str]:
    """All that a module imports, in functions too, but not for types alone; our own modules by their whole name."""

    def names(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from (each.name for each in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level
                for each in child.names:
                    whole = f"{child.module}.{each.name}"
                    yield whole if whole in MODULES else str(child.module)
            else:
                yield from names(child)

    return frozenset(names(ast.parse(MODULES[module].read_text())))


def third_party(starts: list[str]) -> dict[str, str]:
    """Others' top-level packages that `starts` and our modules below them import, each with one that does."""
    seen: set[str] = set()
    found: dict[str, str] = {}
    rest = list(starts)
    while rest:
        module = rest.pop()
        if module in seen:
            continue
        seen.add(module)
        for name in imports(module):
            top = name.partition(".")[0]
            if name in MODULES:
                rest.append(name)
            elif top not in sys.stdlib_module_names and (module, top) not in ON_REQUEST:
                found.setdefault(top, module)
    return found


def lacking(starts: list[str], wanted: list[Requirement]) -> dict[str, str]:
    brought = closure(wanted)
    return {
        top: module
        for top, module in third_party(starts).items()
        if not brought & {canonicalize_name(each) for each in DISTRIBUTIONS.get(top, [])}
    }


def of_package(name: str) -> list[str]:
    top = project(name)["tool"]["uv"]["build-backend"]["module-name"]
    return [module for module in MODULES if module.partition(".")[0] == top]


def library_extras(name: str) -> set[str]:
    return next(each.extras for each in asked(name) if each.name == "ticklake")


@pytest.mark.parametrize("name", sorted(PROJECTS.keys() - {"ticklake"}))
def test_a_package_asks_for_what_its_code_imports(name: str) -> None:
    assert lacking(of_package(name), list(asked(name))) == {}


@pytest.mark.parametrize("name", sorted(PROJECTS.keys() - {"ticklake"}))
def test_a_package_asks_for_no_extra_that_its_code_does_not_use(name: str) -> None:
    imported = {canonicalize_name(each) for top in third_party(of_package(name)) for each in DISTRIBUTIONS.get(top, [])}
    for extra in library_extras(name):
        assert imported & {canonicalize_name(each.name) for each in asked("ticklake", extra)}, extra


def test_the_servers_alone_ask_for_what_they_import() -> None:
    parts = project("ticklake-local")["dependency-groups"]["parts"]
    assert lacking(["ticklake_local.server_container"], list(map(Requirement, parts))) == {}


def test_every_extra_is_asked_for() -> None:
    extras = set(project("ticklake")["project"]["optional-dependencies"])
    assert extras == set.union(*(library_extras(name) for name in PROJECTS.keys() - {"ticklake"}))


def extras_of_image(dockerfile: str) -> set[str]:
    return set(re.findall(r"--extra (\w+)", (ROOT / dockerfile).read_text()))


def test_images_of_several_packages_install_their_extras() -> None:
    spark = library_extras("daily-analytics") | library_extras("stream-analytics")
    assert extras_of_image("spark-apps/Dockerfile") == spark - {"spark"}, "Spark's distribution brings PySpark"
    assert extras_of_image("airflow-dags/Dockerfile") == library_extras("ticklake-airflow")
    parts = project("ticklake-local")["dependency-groups"]["parts"]
    assert extras_of_image("services/ticklake-local/Dockerfile") == Requirement(parts[0]).extras


def services() -> dict[str, set[str]]:
    """Services of `services/Dockerfile` with the distributions that each brings."""
    names = [name for name, folder in PROJECTS.items() if folder.parent.name == "services"]
    return {name: closure(list(asked(name))) for name in names if not name.startswith("ticklake")}


def test_services_that_use_arrow_share_the_lake_s_layer_and_only_they() -> None:
    made = subprocess.run(
        ["make", "--no-print-directory", "-n", "images"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    by_make = dict(re.findall(r"--build-arg SERVICE=(\S+) --build-arg LIBRARY=(\S+)", made))
    wanted = {name: "lake" if "pyarrow" in brought else "core" for name, brought in services().items()}
    assert by_make == wanted
    modules = list(yaml.safe_load_all((ROOT / "skaffold.yaml").read_text()))
    built = [each["docker"]["buildArgs"] for module in modules for each in module.get("build", {}).get("artifacts", ())]
    assert {each["SERVICE"]: each["LIBRARY"] for each in built if "SERVICE" in each} == wanted
    assert set(wanted.values()) == {"core", "lake"}


def test_an_extra_s_line_is_read_by_the_dockerfile_as_by_us() -> None:
    command = re.search(r"extras=\$\((sed .*)\)", (ROOT / "services/Dockerfile").read_text())
    assert command
    for name in services():
        shell = command[1].replace("${SERVICE}", name)
        done = subprocess.run(["sh", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) - {"--extra"} == library_extras(name)
