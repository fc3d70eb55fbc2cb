"""An S3 server over a folder: s3proxy; on the loopback interface by default."""

import http.client
import os
import signal
from pathlib import Path

from ticklake_local.data_folder import write_private
from ticklake_local.java import Java, class_archive_options, keep_class_archive
from ticklake_local.processes import LOOPBACK, Part, PartError

# A request whose signature covers its body is held in memory until that is checked, so the heap has room for some.
_JVM_OPTIONS = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

_LOGGING = """<configuration>
  <appender name="console" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %-5level %logger{30}: %msg%n</pattern></encoder>
  </appender>
  <root level="warn"><appender-ref ref="console"/></root>
</configuration>
"""


class Store(Part):
    """The S3 server. A bucket is a folder in `data_dir`/buckets, an object a file in it, its metadata the file's
    extended attributes. `jars_dir` is the folder of the jar set `s3proxy`. Requests use path-style addresses.

    `address` is the interface that it listens on.
    """

    name = "s3proxy"

    def __init__(
        self,
        java: Java,
        jars_dir: Path,
        data_dir: Path,
        log_dir: Path,
        port: int,
        access_key: str,
        secret_key: str,
        *,
        address: str = LOOPBACK,
    ) -> None:
        super().__init__(port, log_dir)
        self._address = address
        self.java, self.jars_dir, self.data_dir = java, jars_dir, data_dir
        self.access_key, self._secret_key = access_key, secret_key
        self._archive_options: list[str] = []

    @property
    def endpoint(self) -> str:
        """The address for clients on this machine."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> list[str | Path]:
        """Write the configuration and return the server's command.

        Raises PartError where the file system cannot keep an object's metadata.
        """
        buckets = self.data_dir / "buckets"
        buckets.mkdir(parents=True, exist_ok=True)
        _check_attributes(buckets)
        properties, logging = self.data_dir / "s3proxy.properties", self.data_dir / "logback.xml"
        logging.write_text(_LOGGING)
        self._write_properties(properties, buckets)
        self._archive_options = class_archive_options(self.java, self.jars_dir)
        jars = os.pathsep.join(str(jar) for jar in sorted(self.jars_dir.glob("*.jar")))
        crash = f"-XX:ErrorFile={self.log_dir}/s3proxy-crash-%p.log"
        return [
            self.java.executable,
            *_JVM_OPTIONS,
            crash,
            *self._archive_options,
            f"-Dlogback.configurationFile={logging}",
            "-cp",
            jars,
            "org.gaul.s3proxy.Main",
            "--properties",
            properties,
        ]

    def ready(self) -> bool:
        """Whether the server answers S3: a request without a signature must be rejected in S3's own terms."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=2)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status == http.client.FORBIDDEN and b"AccessDenied" in answer.read()
        except http.client.HTTPException:
            return False
        finally:
            connection.close()

    def stop(self, grace_seconds: float = 10) -> None:
        """Stop the server. An upload under way then has not happened: an object appears only when it is whole."""
        super().stop(grace_seconds)
        # Exit code 143: the JVM's own way out after SIGTERM; anything else may have cut the archive short.
        if self.child is not None and self.child.poll() in (143, -signal.SIGTERM):
            keep_class_archive(self._archive_options)

    def _write_properties(self, path: Path, buckets: Path) -> None:
        settings = {
            "s3proxy.endpoint": f"http://{self._address}:{self.port}",
            "s3proxy.authorization": "aws-v2-or-v4",
            "s3proxy.identity": self.access_key,
            "s3proxy.credential": self._secret_key,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.filesystem.basedir": str(buckets),
        }
        text = "".join(f"{key}={value}\n" for key, value in settings.items()).replace("\\", "\\\\")
        write_private(path, text)  # it holds the secret key


def _check_attributes(folder: Path) -> None:
    if not hasattr(os, "setxattr"):  # macOS, whose file systems all have them
        return
    probe = folder.parent / "attribute-probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.ticklake", b"1")
    except OSError as error:
        raise PartError(
            f"s3proxy: the file system of {folder} keeps no extended attributes, where objects' metadata goes "
            f"({error.strerror}); choose another data folder"
        ) from error
    finally:
        probe.unlink()
