"""What a stage's exit code means to Airflow: 1 may be retried, 2 may not."""

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from ticklake.errors import ExitCode


def failure(program: str, code: int | None, output: str) -> AirflowException:
    """The exception for a program that ended with `code`, None where it never ended by itself.

    Args:
        output: its last lines; the last one that is not empty is the reason.
    """
    reason = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "it printed nothing")
    if code == ExitCode.UNUSABLE:
        return AirflowFailException(f"{program} ended with exit code 2, which a retry does not help: {reason}")
    how = "did not end by itself" if code is None else f"ended with exit code {code}"
    return AirflowException(f"{program} {how}: {reason}")
