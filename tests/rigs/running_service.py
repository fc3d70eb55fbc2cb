"""A long-running service as a process: its health, its log, and how it ends."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import ENDS_SECONDS, wait_until

from ticklake_local.processes import LOOPBACK, free_port


@dataclass
class RunningService:
    """The process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def readiness(self) -> tuple[int, str]:
        """Status and text of the readiness probe; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/readyz", timeout=5) as answer:
                return int(answer.status), answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode().strip()
        except OSError:
            return 0, ""

    def wait_ready(self) -> None:
        """Return once it is ready; it must not end."""
        wait_until(lambda: self.readiness()[0] == 200, self.log.read_text, alive=lambda: self.process.poll() is None)

    def wait_rejected(self, text: str) -> None:
        """Return once it is not ready and gives `text` as the reason."""
        wait_until(lambda: self.readiness()[0] == 503 and text in self.readiness()[1], self.log.read_text)

    def wait_end(self) -> tuple[int, str]:
        """Exit code and last line, once it has ended by itself."""
        wait_until(lambda: self.process.poll() is not None, self.log.read_text)
        return self.process.returncode, self.log.read_text().splitlines()[-1]

    def events(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of this kind."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def stop(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.terminate()
        return self.process.wait(ENDS_SECONDS)


@contextmanager
def running(program: Path, environment: dict[str, str], log: Path) -> Iterator[RunningService]:
    """Start `program` and kill it at the end, should it still run."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program], stdout=output, stderr=output, env=environment | {"TICKLAKE_METRICS_PORT": str(port)}
        )
    try:
        yield RunningService(process, port, log)
    finally:
        process.kill()
        process.wait()
