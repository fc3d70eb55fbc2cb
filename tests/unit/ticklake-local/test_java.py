"""Which Java is taken, and why others are not; the Javas here are scripts that answer as the real ones do."""

import subprocess
from pathlib import Path

import certifi
import pytest

from ticklake_local import java as java_module
from ticklake_local.java import Java, class_archive_options, find_java, keep_class_archive, truststore_options


def fake_java(home: Path, version: str, *, release: bool = False) -> Path:
    """A home folder whose bin/java answers -XshowSettings:properties like a Java of that version."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    answer = f"    java.home = {home}\n    java.specification.version = {version}\n"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\nProperty settings:\n{answer}END\n")
    program.chmod(0o755)
    if release:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}.0.2"\n')
    return home


@pytest.mark.parametrize("version", ["17", "21"])
@pytest.mark.parametrize("release", [True, False])
def test_suitable_java_home_is_taken(tmp_path: Path, version: str, release: bool) -> None:
    home = fake_java(tmp_path / "jdk", version, release=release)
    java = find_java(environ={"JAVA_HOME": str(home), "PATH": ""})
    assert java == Java(home=home, major=int(version), bundled=False)
    assert java.executable == home / "bin" / "java"


def test_preferred_comes_before_java_home_and_that_before_path(tmp_path: Path) -> None:
    first, second, third = (fake_java(tmp_path / name, "17") for name in ("first", "second", "third"))
    environ = {"JAVA_HOME": str(second), "PATH": str(third / "bin")}
    assert find_java(first, environ).home == first
    assert find_java(None, environ).home == second
    assert find_java(None, {"PATH": str(third / "bin")}).home == third


@pytest.mark.parametrize(("version", "major"), [("1.8", 8), ("11", 11), ("25", 25)])
def test_unsuitable_java_is_skipped_with_the_reason(tmp_path: Path, version: str, major: int) -> None:
    old = fake_java(tmp_path / "old", version)
    good = fake_java(tmp_path / "good", "21")
    java = find_java(environ={"JAVA_HOME": str(old), "PATH": str(good / "bin")})
    assert java.home == good
    assert java.skipped == (f"JAVA_HOME ({old}): Java {major}, needed is 17 or 21",)


def test_folder_without_java_is_skipped_with_the_reason(tmp_path: Path) -> None:
    java = find_java(tmp_path, {"PATH": ""})
    assert java.bundled
    assert java.skipped == (f"the chosen Java ({tmp_path}): no program bin/java there",)


def test_java_that_says_nothing_is_skipped(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jdk", "17")
    (home / "bin" / "java").write_text("#!/bin/sh\nexit 1\n")
    assert find_java(home, {"PATH": ""}).skipped == (f"the chosen Java ({home}): it does not report its version",)


def test_launcher_on_path_leads_to_the_home_that_it_names(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jdk", "17")
    shim = tmp_path / "shims" / "bin" / "java"
    shim.parent.mkdir(parents=True)
    shim.write_text(f'#!/bin/sh\nexec {home}/bin/java "$@"\n')
    shim.chmod(0o755)
    assert find_java(environ={"PATH": str(shim.parent) + ":/bin:/usr/bin"}).home == home


def test_symbolic_link_on_path_is_followed(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jdk", "21", release=True)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "java").symlink_to(home / "bin" / "java")
    assert find_java(environ={"PATH": str(tmp_path / "links")}).home == home


def test_without_any_java_the_bundled_one_is_taken() -> None:
    java = find_java(environ={"PATH": ""})
    assert (java.bundled, java.major, java.skipped) == (True, 21, ())
    assert java.executable.is_file()


def test_only_the_bundled_java_is_given_a_trust_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "cacerts"
    store.touch()
    monkeypatch.setattr(java_module, "SYSTEM_TRUSTSTORES", (tmp_path / "missing", store))
    assert truststore_options(Java(tmp_path, 17, bundled=False), tmp_path) == []
    assert f"-Djavax.net.ssl.trustStore={store}" in truststore_options(Java(tmp_path, 21, bundled=True), tmp_path)


def test_trust_store_beside_an_unsuitable_java_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_module, "SYSTEM_TRUSTSTORES", ())
    home = fake_java(tmp_path / "old", "11")
    store = home / "lib" / "security" / "cacerts"
    store.parent.mkdir(parents=True)
    store.touch()
    bundled = Java(tmp_path, 21, bundled=True)
    assert f"-Djavax.net.ssl.trustStore={store}" in truststore_options(
        bundled, tmp_path, {"JAVA_HOME": str(home), "PATH": ""}
    )


def test_without_any_java_store_one_is_made_of_the_systems_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java_module, "SYSTEM_TRUSTSTORES", ())
    bundled = find_java(environ={"PATH": ""})
    assert bundled.bundled
    bundle = certifi.where()
    store = truststore_options(bundled, tmp_path, {"PATH": "", "SSL_CERT_FILE": bundle})[0].partition("=")[2]
    listed = subprocess.run(
        [bundled.executable.with_name("keytool"), "-list", "-keystore", store, "-storepass", "changeit"],
        capture_output=True,
        text=True,
        check=False,
    )
    expected = Path(bundle).read_text().count("BEGIN CERTIFICATE")
    assert f"contains {expected} entries" in listed.stdout, listed.stdout + listed.stderr
    assert listed.stdout.count("trustedCertEntry") == expected


def test_class_archive_is_written_once_then_used_and_belongs_to_one_build(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jdk", "17", release=True)
    java = Java(home, 17, bundled=False)
    assert class_archive_options(java, tmp_path) == []  # no base archive
    (home / "lib" / "server").mkdir(parents=True)
    (home / "lib" / "server" / "classes.jsa").touch()

    first = class_archive_options(java, tmp_path)
    flag, _, target = first[0].partition("=")
    assert flag == "-XX:ArchiveClassesAtExit"
    keep_class_archive(first)  # the run wrote nothing
    assert not list(tmp_path.glob("*.jsa*"))
    Path(target).write_text("classes")
    keep_class_archive(first)
    (kept,) = tmp_path.glob("*.jsa*")
    assert class_archive_options(java, tmp_path)[0] == f"-XX:SharedArchiveFile={kept}"
    kept.write_text("cut")
    assert class_archive_options(java, tmp_path)[0].startswith("-XX:ArchiveClassesAtExit=")
    assert not kept.exists()

    Path(target).write_text("classes")
    keep_class_archive(first)
    (home / "release").write_text('JAVA_VERSION="17.0.3"\n')
    assert class_archive_options(java, tmp_path)[0].startswith("-XX:ArchiveClassesAtExit=")
