"""A stage as a process beside the scheduler, started as a person would start it in a shell."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from ticklake_airflow.exit_codes import failure

_STOP_SECONDS = 12
"""A stage ends within 10 s of SIGTERM."""
_LINES_KEPT = 20


class LocalStageOperator(BaseOperator):
    """Runs a console script with the environment that the task finds, and streams its output into the task's log.

    The process stays in the process group of its task, so that whoever stops Airflow's group stops it too.

    Args:
        program: name of the console script.
        arguments: its arguments (templated).
        environment: further variables (templated); an empty value leaves the variable as it is.

    Returns:
        The stage's result, as it wrote it to `TICKLAKE_XCOM_FILE`; None where it wrote none.

    Raises:
        AirflowFailException: exit code 2, or no such program; no retry follows.
        AirflowException: any other exit code than 0.
    """

    template_fields: Sequence[str] = ("arguments", "environment")

    def __init__(
        self, *, program: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.program = program
        self.arguments = list(arguments)
        self.environment = dict(environment or {})
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Context) -> Any:  # noqa: ARG002
        """Run the program to its end and return its result."""
        # Next to this Python first: a virtual environment need not be activated.
        script = shutil.which(
            self.program, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        )
        if script is None:
            raise AirflowFailException(f"there is no program {self.program} on PATH: is its package installed?")
        with tempfile.TemporaryDirectory(prefix="ticklake-task-") as folder:
            result = Path(folder) / "return.json"
            output = self._run(script, {"TICKLAKE_XCOM_FILE": str(result), "TMPDIR": folder})
            code = self._process.returncode if self._process else None
            if code:
                raise failure(self.program, code, output)
            return json.loads(result.read_text()) if result.exists() else None

    def _run(self, script: str, own: Mapping[str, str]) -> str:
        given = {name: value for name, value in self.environment.items() if value}
        self.log.info("Running %s %s", self.program, " ".join(self.arguments))
        kept: deque[str] = deque(maxlen=_LINES_KEPT)
        self._process = subprocess.Popen(
            [script, *self.arguments],
            env={**os.environ, **given, **own},
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            assert self._process.stdout is not None  # noqa: S101
            for line in self._process.stdout:
                kept.append(line)
                self.log.info("%s", line.rstrip())
            self._process.wait()
        finally:
            self.on_kill()  # execution_timeout raises here; does nothing where the process has ended
        return "".join(kept)

    def on_kill(self) -> None:
        """Stop the process: asked first, made to after some seconds."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        self.log.warning("Stopping %s (process %s)", self.program, process.pid)
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
