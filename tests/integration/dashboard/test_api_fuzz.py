"""Requests generated from the page's OpenAPI, valid and invalid ones: no server error, and nothing undescribed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from dashboard_rig import Dashboard, FilledLake, TickSender

EXAMPLES = 60
"""Generated requests of each operation, beside those of the boundaries that its description names."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


def test_generated_requests_are_answered_as_described(
    serve: Callable[..., Dashboard], filled_lake: FilledLake, ticks: TickSender, tmp_path: Path
) -> None:
    server = serve(**{name.removeprefix("TICKLAKE_"): value for name, value in filled_lake.env.items()})
    ticks.send(("AAPL", 187.5), ("MSFT", 410.25))
    server.wait("/status", lambda status: status is not None)
    config = tmp_path / "schemathesis.toml"
    config.write_text("[checks.negative_data_rejection]\nexpected-statuses = [404, 405, 414, 422]\n")
    # The stream of events never ends.
    command = "run --phases examples,coverage,fuzzing --seed 1 --generation-deterministic --exclude-path-regex /stream"
    done = subprocess.run(
        [
            f"{sys.prefix}/bin/schemathesis",
            f"--config-file={config}",
            *command.split(),
            f"--checks={','.join(CHECKS)}",
            f"--max-examples={EXAMPLES}",
            f"{server.url}/api/v1/openapi.json",
        ],
        cwd=tmp_path,  # where it keeps what it found
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    log = server.log.read_text()
    assert "Traceback" not in log, log[-4000:]
