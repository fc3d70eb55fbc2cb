"""The JVM that Spark runs in, started for real."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ticklake.spark_jvm import SparkJvm
from ticklake_local.java import find_java

DAY = 24 * 3600


def started(archive_dir: Path) -> SparkJvm:
    return SparkJvm(
        java_home=find_java().home,
        jars_dir=None,
        memory="256m",
        log_level="error",
        options=(),
        archive_dir=archive_dir,
        archive_name="an-app",
    )


@pytest.fixture
def base_archive() -> None:
    if not (find_java().home / "lib" / "server" / "classes.jsa").is_file():
        pytest.skip("this Java has no base archive, so it can write none")


@pytest.mark.usefixtures("base_archive")
def test_an_archive_is_written_used_and_the_unused_are_removed(tmp_path: Path) -> None:
    now = time.time()
    ages = {"an-app-aaa.jsa": 30, "an-app-bbb.12-34": 30, "an-app-ccc.jsa": 1, "another-app-ddd.jsa": 30}
    for name, days in ages.items():
        (tmp_path / name).write_text("old")
        os.utime(tmp_path / name, (now - days * DAY,) * 2)
    first = started(tmp_path)
    with first.offered():
        pass
    first.close(keep_archive=True)
    left = {path.name for path in tmp_path.iterdir()} - {"an-app-ccc.jsa", "another-app-ddd.jsa"}
    (written,) = left
    assert written.endswith(".jsa")

    os.utime(tmp_path / written, (now - 30 * DAY,) * 2)
    second = started(tmp_path)
    with second.offered():
        used = f"-XX:SharedArchiveFile={tmp_path / written}"
        assert any(used in each.cmdline() for each in psutil.Process().children())
    second.close()
    # Its use is what counts, not when it was written.
    assert (tmp_path / written).stat().st_mtime > now - DAY


def test_a_session_is_stopped_without_a_word_although_its_jvm_was_ended() -> None:
    code = """
import contextlib
from ticklake import spark
from ticklake.settings import StoreSettings
session = spark.build_session("an-app", spark.SparkSettings(master="local[1]", memory="512m"), StoreSettings())
spark._jvm.close()
with contextlib.suppress(Exception):
    session.stop()
print("stopped")
"""
    environment = os.environ | {"TICKLAKE_SPARK_JAVA_HOME": str(find_java().home)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=240)
    assert (done.stdout, done.stderr) == ("stopped\n", "")
