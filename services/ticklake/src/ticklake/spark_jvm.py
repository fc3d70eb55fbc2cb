"""The JVM that a session on one machine lives in, started without Spark's launcher scripts.

The scripts start a JVM of their own only to compose the command of the second, cannot use an archive of loaded
classes, and always ask for the module `jdk.incubator.vector` (a speed-up of linear algebra), without which a Java that
lacks it does not start at all. PySpark connects to whichever JVM `PYSPARK_GATEWAY_PORT` names.
"""

import atexit
import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ticklake.errors import ConfigurationError, StageError

ONE_SHOT = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:NewRatio=1")
"""For a job of seconds: the quick compiler only, and the collector with the least to set up."""

_PACKAGES = (
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "jdk.internal.ref",
    "sun.nio.ch",
    "sun.nio.cs",
    "sun.security.action",
    "sun.util.calendar",
)
"""Packages of java.base that Spark reaches into, as org.apache.spark.launcher.JavaModuleOptions lists them."""

_UNUSED_SECONDS = 7 * 24 * 3600
_LAST_WORDS_SECONDS = 5.0
_START_SECONDS = 60
_FOLDER = "ticklake-spark-"
_LOG_CONFIG = Path(__file__).parent / "spark_log4j2.properties"


class SparkJvm:
    """One JVM with PySpark's gateway in it. It ends when this process does, at the latest."""

    def __init__(
        self,
        *,
        java_home: Path | None,
        jars_dir: Path | None,
        memory: str,
        log_level: str,
        options: Sequence[str],
        archive_dir: Path | None,
        archive_name: str,
    ) -> None:
        """Start it and return at once.

        Args:
            java_home: None means `java` on the PATH.
            memory: heap, e.g. `1g`.
            options: further JVM options; the last of two that contradict each other counts.
            archive_dir: where archives of loaded classes are kept. The first start with a name, Java and set of jars
                writes one as the JVM is closed, which takes some seconds; later ones then start in half the time.

        Raises:
            ConfigurationError: there is no such Java.
        """
        java = self._java(java_home)
        classpath = _classpath(jars_dir)
        _remove_left_folders()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        self._output: list[str] = []
        self._connected = False
        self._archive = _archive(java, classpath, archive_dir, archive_name)
        self._pending_archive: Path | None = None
        command = [
            str(java),
            *_module_options(),
            f"-Xms{memory}",
            f"-Xmx{memory}",
            "-XX:-UsePerfData",
            "-Duser.timezone=UTC",
            f"-Djava.io.tmpdir={self._folder}",
            f"-Dlog4j2.configurationFile={_LOG_CONFIG}",
            f"-Dticklake.log.level={log_level}",
            *self._archive_options(),
            *options,
            "-cp",
            os.pathsep.join(classpath),
            "org.apache.spark.api.python.PythonGatewayServer",
        ]
        environment = {
            **os.environ,
            "_PYSPARK_DRIVER_CONN_INFO_PATH": str(self._connection_file),
            "SPARK_HOME": str(_spark_home()),
        }
        # The gateway ends when its standard input does, hence with this process, however that ends. Signals to the
        # whole group are for this process alone: it closes the JVM in its own time.
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=_ignore_signals,
        )
        self._reader = threading.Thread(target=self._forward_output, daemon=True)
        self._reader.start()
        atexit.register(self.close)

    @property
    def _connection_file(self) -> Path:
        return self._folder / "gateway"

    @property
    def alive(self) -> bool:
        """Whether the JVM runs."""
        return self._process.poll() is None

    def ends_within(self, seconds: float) -> bool:
        """Whether the JVM has ended or does so now: its connections break a little earlier."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.alive

    @contextlib.contextmanager
    def offered(self) -> Iterator[None]:
        """Wait until the JVM takes calls and have PySpark connect to it, rather than start one, inside the block.

        Raises:
            StageError: the JVM ended or is not ready within a minute; the message has its output.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self._connection_file.exists():
            if not self.alive or time.monotonic() > deadline:
                if not self.alive:
                    self._reader.join(_LAST_WORDS_SECONDS)  # its last output may still be on its way
                output = next((line for line in self._output if line.strip()), "it printed nothing")
                self.close()
                raise StageError(
                    f"Java did not start Spark: {output} (check TICKLAKE_SPARK_JAVA_OPTIONS and the memory)"
                )
            time.sleep(0.01)
        raw = self._connection_file.read_bytes()
        port, length = struct.unpack_from("!ii", raw)
        given = {"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": raw[8 : 8 + length].decode()}
        os.environ.update(given)
        try:
            yield
        finally:
            for name in given:
                os.environ.pop(name, None)
        self._connected = True

    def close(self, *, keep_archive: bool = False) -> None:
        """End the JVM and remove its temporary files.

        At once, unless it has an archive to write and `keep_archive` says that it loaded what belongs into one.
        """
        atexit.unregister(self.close)
        if self._pending_archive is None or not keep_archive:
            self._process.kill()
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()
        if self._pending_archive is not None and self._archive is not None:
            # A JVM that maps a damaged archive crashes, so only a whole one gets the name that is looked for.
            if self._process.returncode == 0 and self._pending_archive.is_file():
                self._pending_archive.replace(self._archive)
            self._pending_archive.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _archive_options(self) -> list[str]:
        if self._archive is None:
            return []
        quiet = ["-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr"]
        if self._archive.is_file():
            with contextlib.suppress(OSError):  # a folder that is shared and read-only
                os.utime(self._archive)
            return [f"-XX:SharedArchiveFile={self._archive}", *quiet]
        self._archive.parent.mkdir(parents=True, exist_ok=True)
        _remove_unused(self._archive)
        self._pending_archive = self._archive.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}")
        return [f"-XX:ArchiveClassesAtExit={self._pending_archive}", *quiet]

    def _forward_output(self) -> None:
        time.sleep(0.5)
        for line in self._process.stdout or ():
            if self._connected:
                sys.stderr.write(line)
                sys.stderr.flush()
            else:
                self._output.append(line)

    @staticmethod
    def _java(java_home: Path | None) -> Path:
        found = shutil.which("java", path=str(java_home / "bin") if java_home else None)
        if found is None:
            where = f"in JAVA_HOME ({java_home})" if java_home else "on the PATH, and JAVA_HOME is not set"
            raise ConfigurationError(f"there is no Java {where}: Spark needs Java 17 or 21")
        return Path(found)


def _spark_home() -> Path:
    # Found without importing it: that takes a while, which the JVM can use to start.
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ConfigurationError("the Python package pyspark is not installed")
    return Path(spec.origin).parent


def _classpath(jars_dir: Path | None) -> list[str]:
    # In a fixed order: an archive of classes fits one class path only.
    folders = [jars_dir, _spark_home() / "jars"]
    return [str(jar) for folder in folders if folder is not None for jar in sorted(folder.glob("*.jar"))]


def _module_options() -> list[str]:
    return [
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _PACKAGES),
        "--add-opens=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
        "-Djdk.reflect.useDirectMethodHandle=false",
        "-Dio.netty.tryReflectionSetAccessible=true",
    ]


def _archive(java: Path, classpath: list[str], archive_dir: Path | None, name: str) -> Path | None:
    # Without the base archive of its own classes, which some builds leave out, Java can neither write nor use one.
    home = java.resolve().parent.parent
    if archive_dir is None or not (home / "lib" / "server" / "classes.jsa").is_file():
        return None
    identity = hashlib.sha256(str(home).encode())
    for path in (home / "release", *map(Path, classpath)):
        state = path.stat()
        identity.update(f"{path} {state.st_size} {state.st_mtime_ns}".encode())
    return archive_dir / f"{name}-{identity.hexdigest()[:12]}.jsa"


def _remove_unused(archive: Path) -> None:
    """Archives of the same program that no run has used for long: each fits one class path, and they are large."""
    for other in archive.parent.glob(f"{archive.name.rpartition('-')[0]}-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - other.stat().st_mtime > _UNUSED_SECONDS:
                other.unlink()


def _remove_left_folders() -> None:
    """Temporary folders of processes that were killed, and so could not remove them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):
            pass  # another user's, and alive; or not ours at all


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
