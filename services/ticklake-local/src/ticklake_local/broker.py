"""A Kafka broker: KRaft, broker and controller in one process; on the loopback interface by default."""

import base64
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import uuid
from pathlib import Path

from ticklake.kafka_protocol import request
from ticklake_local.java import Java, class_archive_options, keep_class_archive
from ticklake_local.processes import LOOPBACK, Part, PartError, free_port

# The serial collector and the first compiler alone start the broker a fifth sooner and take 50 MB less; 500,000
# messages of 150 bytes went through no slower than with the defaults.
_JVM_OPTIONS = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_LOG_OPTIONS = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

# One node can hold one replica; the internal topics and the thread pools are sized for one machine.
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "1",
    "log.segment.bytes": str(128 * 1024 * 1024),
    "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
}

_METADATA, _INIT_PRODUCER_ID = 3, 22
_FORMAT_SECONDS = 60


class Broker(Part):
    """The broker. Topics and offsets live in `data_dir` and survive a restart, on the same or on another port.

    `jars_dir` is the folder of the jar set `kafka`. `address` is the interface that it listens on, `advertised` the
    host name that is advertised to clients.
    """

    name = "kafka"

    def __init__(
        self,
        java: Java,
        jars_dir: Path,
        data_dir: Path,
        log_dir: Path,
        port: int,
        *,
        address: str = LOOPBACK,
        advertised: str = LOOPBACK,
    ) -> None:
        super().__init__(port, log_dir)
        self.java, self.jars_dir, self.data_dir = java, jars_dir, data_dir
        self._address, self._advertised = address, advertised
        self._archive_options: list[str] = []

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"{self._advertised}:{self.port}"

    def prepare(self) -> list[str | Path]:
        """Write server.properties, format the storage if it is new, and return the broker's command.

        Raises PartError if another broker works on the storage or it cannot be formatted.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        storage = self.data_dir / "storage"
        self._check_unused(storage)
        if not storage.exists():
            self._format(storage)
        properties = self._write_properties("server.properties", storage)
        self._archive_options = class_archive_options(self.java, self.jars_dir)
        # A native library unpacked there outlives a broker that is killed.
        scratch = self.data_dir / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        crash = f"-XX:ErrorFile={self.log_dir}/kafka-crash-%p.log"
        return self._java(
            *_JVM_OPTIONS, crash, f"-Djava.io.tmpdir={scratch}", *self._archive_options, "kafka.Kafka", properties
        )

    def ready(self) -> bool:
        """Whether the broker is registered and hands out producer ids.

        The listener opens earlier than that: a topic created then would fail, and an idempotent producer would sit
        out a retry of a second.
        """
        with socket.create_connection((LOOPBACK, self.port), timeout=2) as connection:
            brokers = request(connection, _METADATA, version=1, body=struct.pack(">i", 0))  # no topics
            if struct.unpack_from(">i", brokers)[0] == 0:
                return False
            # Version 0: no transactional id, a timeout of 1 s; the answer starts with throttle time and error.
            producer = request(connection, _INIT_PRODUCER_ID, version=0, body=struct.pack(">hi", -1, 1000))
            return bool(struct.unpack_from(">ih", producer)[1] == 0)

    def stop(self, grace_seconds: float = 15) -> None:
        """Stop the broker cleanly: its log segments are closed and need no recovery at the next start."""
        super().stop(grace_seconds)
        # Exit code 143: the JVM's own way out after SIGTERM; anything else may have cut the archive short.
        if self.child is not None and self.child.poll() in (143, -signal.SIGTERM):
            keep_class_archive(self._archive_options)

    def _check_unused(self, storage: Path) -> None:
        # A second broker notices Kafka's own lock only after it has written to the metadata log of the first.
        lock = storage / ".lock"
        if lock.exists():
            with lock.open("r+b") as file:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise PartError(f"kafka: another broker works on {self.data_dir}") from None

    def _format(self, storage: Path) -> None:
        # Into a folder beside, so that an interrupted format leaves no half-formatted storage.
        fresh = storage.with_name("storage.new")
        shutil.rmtree(fresh, ignore_errors=True)
        properties = self._write_properties("format.properties", fresh)
        # Kafka's form of a UUID; the fixed first byte keeps it from beginning with a dash, like an option.
        cluster_id = base64.urlsafe_b64encode(b"\x01" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        command = self._java(
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster_id,
            "-c",
            properties,
        )
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_FORMAT_SECONDS, check=False
        )
        if done.returncode != 0:
            lines = (done.stderr + done.stdout).strip().splitlines() or ["no output"]
            raise PartError(f"kafka: the storage in {self.data_dir} cannot be formatted: {lines[-1]}")
        fresh.replace(storage)

    def _write_properties(self, file_name: str, storage: Path) -> Path:
        controller = free_port()
        settings = _SETTINGS | {
            "listeners": f"PLAINTEXT://{self._address}:{self.port},CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self._advertised}:{self.port}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            "log.dirs": str(storage).replace("\\", "\\\\"),
        }
        path = self.data_dir / file_name
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path

    def _java(self, *words: str | Path) -> list[str | Path]:
        # Every jar by name: the archive of classes needs the same class path each time, a wildcard has no fixed order.
        jars = os.pathsep.join(str(jar) for jar in sorted(self.jars_dir.glob("*.jar")))
        return [self.java.executable, *_LOG_OPTIONS, "-cp", jars, *words]
