"""Fetching and checking the jars with the real Ivy; what needs the network says so by skipping."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ticklake_local import jars as jars_module
from ticklake_local.jars import SETS, JarsError, ensure_jars, fetch_set
from ticklake_local.java import find_java

JAVA = find_java()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache filled from nothing."""
    cache = tmp_path_factory.mktemp("jars")
    try:
        ensure_jars(JAVA, cache)
    except JarsError as error:
        pytest.skip(f"needs the network: {error}")
    return cache


@pytest.fixture
def cache(filled: Path, tmp_path: Path) -> Path:
    """A copy of the filled cache to do harm to."""
    return Path(shutil.copytree(filled, tmp_path / "cache"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection of Ivy goes to a proxy that is not there."""
    nowhere = "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", nowhere)


def jar_names(folder: Path) -> list[str]:
    return sorted(jar.name for jar in folder.glob("*.jar"))


def test_sets_are_whole_and_hold_the_pinned_versions(filled: Path) -> None:
    folders = ensure_jars(JAVA, filled)
    assert set(folders) == set(SETS)
    assert {"kafka_2.13-4.3.1.jar", "slf4j-simple-1.7.36.jar"} <= set(jar_names(folders["kafka"]))
    assert {"s3proxy-4.1.0.jar", "jackson-annotations-2.21.jar"} <= set(jar_names(folders["s3proxy"]))
    assert {
        "spark-sql-kafka-0-10_2.13-4.0.2.jar",
        "spark-hadoop-cloud_2.13-4.0.2.jar",
        "hadoop-aws-3.4.1.jar",
        "spark-token-provider-kafka-0-10_2.13-4.0.0.jar",
        "s3-transfer-manager-2.29.52.jar",
        "sts-2.29.52.jar",
    } <= set(jar_names(folders["spark"]))
    assert not list(filled.glob(".fetch-*"))


def test_recorded_sums_are_those_of_the_files(filled: Path) -> None:
    lines = (Path(jars_module.__file__).parent / "jars/SHA256SUMS").read_text().splitlines()
    recorded = {path: digest for digest, path in (line.split("  ") for line in lines)}
    folders = ensure_jars(JAVA, filled)
    actual = {
        f"{name}/{jar.name}": hashlib.sha256(jar.read_bytes()).hexdigest()
        for name, folder in folders.items()
        for jar in folder.glob("*.jar")
    }
    assert actual == recorded


def test_spark_set_repeats_nothing_that_pyspark_ships(filled: Path) -> None:
    import pyspark

    shipped = {jar.name.rpartition("-")[0] for jar in Path(pyspark.__file__).parent.glob("jars/*.jar")}
    ours = {name.rpartition("-")[0] for name in jar_names(ensure_jars(JAVA, filled)["spark"])}
    # The SDK's module "annotations" shares its name with another project's.
    assert ours & shipped <= {"annotations"}


def test_warm_check_is_fast_and_silent(filled: Path) -> None:
    calls: list[object] = []
    begun = time.monotonic()
    ensure_jars(JAVA, filled, lambda *what: calls.append(what))
    assert time.monotonic() - begun < 1
    assert calls == []


def test_touched_but_unchanged_jars_are_summed_and_kept(cache: Path, offline: None) -> None:
    for jar in cache.glob("*/*.jar"):
        os.utime(jar, (1, 1))
    ensure_jars(JAVA, cache)


@pytest.mark.parametrize("harm", ["truncate", "alter", "remove"])
def test_damaged_jar_is_deleted_and_fetched_again(cache: Path, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ensure_jars(JAVA, cache)["s3proxy"]
    jar = folder / "s3proxy-4.1.0.jar"
    whole = jar.read_bytes()
    if harm == "remove":
        jar.unlink()
    else:
        jar.write_bytes(whole[: len(whole) // 2] if harm == "truncate" else whole[:-1] + bytes([whole[-1] ^ 1]))

    with monkeypatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9")
        with pytest.raises(JarsError):
            ensure_jars(JAVA, cache)
        assert not jar.exists()

    calls: list[tuple[str, int, int]] = []
    ensure_jars(JAVA, cache, lambda *what: calls.append(what))
    assert jar.read_bytes() == whole
    assert {name for name, _, _ in calls} == {"s3proxy"}
    assert calls[0] == ("s3proxy", 0, 21)
    assert calls[-1] == ("s3proxy", 21, 21)


def test_stray_jar_goes_when_the_set_is_repaired(cache: Path) -> None:
    folder = ensure_jars(JAVA, cache)["s3proxy"]
    (folder / "other-1.0.jar").write_bytes(b"x")
    (folder / "args4j-2.37.jar").unlink()
    ensure_jars(JAVA, cache)
    assert "other-1.0.jar" not in jar_names(folder)


def test_without_network_one_line_says_so_and_soon(tmp_path: Path, offline: None) -> None:
    begun = time.monotonic()
    with pytest.raises(JarsError, match=r"^the jars of kafka cannot be fetched .*is there a network") as caught:
        ensure_jars(JAVA, tmp_path / "empty")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 60


def test_other_content_than_recorded_is_rejected(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorded = Path(jars_module.__file__).parent / "jars/SHA256SUMS"
    altered = "".join(
        "0" * 64 + line[64:] if "args4j" in line else line for line in recorded.read_text().splitlines(keepends=True)
    )
    (tmp_path / "SUMS").write_text(altered)
    monkeypatch.setattr(jars_module, "_SUMS", tmp_path / "SUMS")
    with pytest.raises(JarsError, match=r"s3proxy: fetched, but not what was recorded \(SHA-256\): args4j-2.37.jar"):
        ensure_jars(JAVA, cache)


def test_concurrent_callers_fetch_once(cache: Path) -> None:
    folder = ensure_jars(JAVA, cache)["s3proxy"]
    (folder / "args4j-2.37.jar").unlink()
    code = (
        "import sys; from pathlib import Path\n"
        "from ticklake_local.jars import ensure_jars; from ticklake_local.java import find_java\n"
        "made = []; ensure_jars(find_java(), Path(sys.argv[1]), lambda *what: made.append(what)); print(len(made) > 0)"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, cache], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(run.communicate()[0].strip() for run in runs) == ["False", "False", "True"]


def test_killed_fetch_does_no_harm(filled: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from ticklake_local.jars import ensure_jars; from ticklake_local.java import find_java\n"
        "ensure_jars(find_java(), Path(sys.argv[1]), lambda *what: print(what, flush=True))"
    )
    run = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for line in run.stdout:
        if ", 5, " in line:
            break
    run.send_signal(signal.SIGKILL)
    run.wait()
    folders = ensure_jars(JAVA, tmp_path)
    for name, folder in ensure_jars(JAVA, filled).items():
        assert jar_names(folder) == jar_names(folders[name])


def test_bundled_java_fetches_too(cache: Path) -> None:
    folder = ensure_jars(JAVA, cache)["s3proxy"]
    (folder / "args4j-2.37.jar").unlink()
    bundled = find_java(environ={"PATH": ""})
    assert bundled.bundled
    ensure_jars(bundled, cache)
    assert (folder / "args4j-2.37.jar").is_file()


def test_one_set_into_a_folder_with_the_ivy_of_a_spark_distribution(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spark").mkdir()
    (tmp_path / "spark" / "jars").symlink_to(jars_module._ivy().parent)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)  # no package pyspark
    monkeypatch.setenv("SPARK_HOME", str(tmp_path / "spark"))
    folder = tmp_path / "new" / "jars"
    assert fetch_set(JAVA, "s3proxy", folder) == 21
    assert sorted(folder.iterdir()) == sorted(folder.glob("*.jar"))
    assert jar_names(folder) == jar_names(ensure_jars(JAVA, filled)["s3proxy"])
