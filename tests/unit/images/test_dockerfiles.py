"""The Dockerfiles, read as text: bases, users, what they copy, and that every service has an image."""

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LIBRARIES = {"ticklake", "ticklake-local"}
SERVICES = sorted(
    path.parent.name for path in ROOT.glob("services/*/pyproject.toml") if path.parent.name not in LIBRARIES
)
DOCKERFILES = [
    "services/Dockerfile",
    "services/ticklake-local/Dockerfile",
    "spark-apps/Dockerfile",
    "airflow-dags/Dockerfile",
]
USERS = dict(zip(DOCKERFILES, ("10001:10001", "10001:10001", "185:185", "50000:0"), strict=True))


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(instruction, rest) in order, comments gone and continued lines joined."""
    lines = [line for line in (ROOT / dockerfile).read_text().splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word
    ]


def versions() -> dict[str, str]:
    lines = (ROOT / "skaffold.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def locked(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert found, package
    return found[1]


def sources(dockerfile: str, service: str = "") -> list[str]:
    """What an image is built from, without what comes from another stage."""
    found = []
    for word, rest in instructions(dockerfile):
        if word == "COPY" and not rest.startswith("--from"):
            found += rest.replace("${SERVICE}", service).split()[:-1]
    return found


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_bases_are_arguments_without_a_version_of_their_own(dockerfile: str) -> None:
    known = versions()
    stages: set[str] = set()
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            base, _, stage = rest.partition(" AS ")
            assert base in stages or (base[:2] == "${" and base[2:-1] in (*known, "LIBRARY")), rest
            stages.add(stage)
        if word == "ARG":
            assert "=" not in rest, rest
    assert len(stages) > 2, "more than one stage"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_images_run_as_a_fixed_user_that_is_not_root(dockerfile: str) -> None:
    last = {word: position for position, (word, _) in enumerate(instructions(dockerfile))}
    users = [rest for word, rest in instructions(dockerfile) if word == "USER"]
    assert users[-1] == USERS[dockerfile]
    assert last["USER"] > max(position for word, position in last.items() if word in ("RUN", "COPY"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_nothing_of_the_build_stays(dockerfile: str) -> None:
    """The last stages neither install nor copy from where uv is, but for named results."""
    words = instructions(dockerfile)
    stages = [position for position, (word, rest) in enumerate(words) if word == "FROM" and rest.startswith("${")]
    final = words[stages[-1] :]
    for word, rest in final:
        assert not (word == "RUN" and re.search(r"\b(uv|pip install|apt-get)\b", rest)), rest
        if word == "COPY" and rest.startswith("--from"):
            assert rest.split()[1].startswith(("/opt/", "/jars", "/usr/bin/tini")), rest
        assert not (word in ("ENV", "LABEL") and re.search("PASSWORD|SECRET|TOKEN|INDEX", rest)), rest


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_packages_are_installed_with_the_lock_s_hashes_or_not_from_the_index(dockerfile: str) -> None:
    commands = [
        part
        for word, rest in instructions(dockerfile)
        if word == "RUN"
        for part in rest.split("&&")
        if "uv pip install" in part
    ]
    assert len(commands) >= 2
    for command in commands:
        assert "--constraint requirements.lock" in command or "--offline --no-deps" in command, command


def test_images_use_the_versions_of_the_lock() -> None:
    known = versions()
    assert f":{locked('pyspark')}-" in known["SPARK_IMAGE"]
    assert f":{locked('apache-airflow')}-" in known["AIRFLOW_IMAGE"]
    python = re.search(r":(3\.\d+)", known["PYTHON_IMAGE"])
    assert python
    assert known["AIRFLOW_IMAGE"].endswith(f"-python{python[1]}")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_built_from_its_own_directory_and_the_library(service: str) -> None:
    copied = sources("services/Dockerfile", service)
    allowed = ("requirements.lock", "services/ticklake/", f"services/{service}/")
    assert all(path.startswith(allowed) for path in copied)
    assert all((ROOT / path).exists() for path in copied)
    dependencies = tomllib.loads((ROOT / f"services/{service}/pyproject.toml").read_text())["project"]["dependencies"]
    others = {name for name in SERVICES if name in dependencies}
    assert not others, "an image holds one service: nothing installs another"


def test_code_is_copied_after_all_packages_are_installed() -> None:
    for dockerfile in DOCKERFILES:
        words = instructions(dockerfile)
        code = [n for n, (word, rest) in enumerate(words) if word == "COPY" and re.search(r"/src /?\S+|/src \S", rest)]
        network = [n for n, (word, rest) in enumerate(words) if word == "RUN" and "--require-hashes" in rest]
        assert code
        assert min(code) > max(network), dockerfile


def test_what_is_copied_is_not_ignored_and_the_rest_is() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    kept_out = [rule.removeprefix("**/") for rule in rules[1:] if not rule.startswith("!")]
    for dockerfile in DOCKERFILES:
        for path in sources(dockerfile, "fetch-historical"):
            assert path.split("/")[0] in let_in, path
            assert not any(fnmatch(Path(path).name, rule) for rule in kept_out), path
    assert {".git", ".venv", ".ticklake", "tests"} & let_in == set()


def test_spark_apps_need_nothing_that_their_image_leaves_out() -> None:
    for app in ("daily-analytics", "stream-analytics"):
        assert f"spark-apps/{app}/pyproject.toml" in sources("spark-apps/Dockerfile")
    assert "spark-apps/run_*.py" in sources("spark-apps/Dockerfile")
    for script, module in (
        ("run_daily_analytics", "daily_analytics.main"),
        ("run_stream_analytics", "stream_analytics.main"),
        ("run_rebuild_windows", "stream_analytics.rebuild_main"),
    ):
        assert f"from {module} import main" in (ROOT / "spark-apps" / f"{script}.py").read_text()


def test_parts_ask_for_nothing_that_the_local_platform_does_not() -> None:
    project = tomllib.loads((ROOT / "services/ticklake-local/pyproject.toml").read_text())
    parts = [each for each in project["dependency-groups"]["parts"] if not each.startswith("ticklake[")]
    assert set(parts) <= set(project["project"]["dependencies"])


def test_the_jars_stage_has_all_that_fetching_needs(tmp_path: Path) -> None:
    """The modules that the stage copies run alone, with no third-party package."""
    for dockerfile in ("spark-apps/Dockerfile", "services/ticklake-local/Dockerfile"):
        folder = tmp_path / dockerfile.replace("/", "-")
        for word, rest in instructions(dockerfile):
            if word != "COPY" or not rest.endswith(
                ("/src/ticklake/", "/src/ticklake_local/", "/src/ticklake_local/jars")
            ):
                continue
            *paths, target = rest.split()
            place = folder / target.removeprefix("/src/")
            for path in paths:
                if (ROOT / path).is_dir():
                    shutil.copytree(ROOT / path, place)
                else:
                    place.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / path, place)
        done = subprocess.run(
            [sys.executable, "-S", "-m", "ticklake_local.jars", "--help"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "--fetch" in done.stdout
        assert (folder / "ticklake_local/jars/SHA256SUMS").is_file()


def test_make_builds_every_image_with_the_pinned_versions() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "images", "VERSION=9.9.9", "PIP_INDEX_URL=there"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    builds = [line for line in done.stdout.splitlines() if line.startswith("docker build")]
    tags = {found[1] for line in builds if (found := re.search(r"--tag ticklake/(\S+):9\.9\.9 ", line))}
    assert tags == {*SERVICES, "spark-apps", "airflow-dags", "local-servers"}
    known = versions()
    for line in builds:
        assert f"--build-arg PYTHON_IMAGE={known['PYTHON_IMAGE']} " in line
        assert f"--build-arg UV_VERSION={known['UV_VERSION']} " in line
        assert "--build-arg PIP_INDEX_URL " in line, "by name: a mirror's address may hold a password"
    live = [line for line in builds if "--target live" in line]
    assert {re.search(r"SERVICE=(\S+)", line)[1] for line in live} == {  # type: ignore[index]
        "stream-ticks",
        "archive-ticks",
        "market-alerts",
        "batch-exporter",
        "dashboard",
    }
