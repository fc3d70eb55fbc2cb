"""What can stop a stage, and with which exit code.

Libraries' own errors are turned into these where they are called, so that a stage ends with one clear line that says
what is wrong and what to do, and with an exit code an orchestrator can act on.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every stage."""

    DONE = 0
    FAILED = 1
    """Failed; a retry may help."""
    UNUSABLE = 2
    """Wrong configuration or input; a retry will not help."""


class StageError(Exception):
    """The stage failed and a retry may help: a broker or store out of reach, a deadline that passed."""

    exit_code = ExitCode.FAILED
    final = False
    """Whether the same call fails for as long as the process runs, so that a loop must not repeat it."""
    details: str = ""
    """Further lines for a person, such as the end of a log."""


class ConfigurationError(StageError):
    """Wrong settings, rights or input: the same call will fail again until a person fixes it."""

    exit_code = ExitCode.UNUSABLE
    final = True


class CredentialsError(ConfigurationError):
    """The store or Kafka rejects the credentials themselves, whatever they would allow.

    Not final: a rotation may be under way. `ticklake.credentials` has the rule and ends a service where it lasts.
    """

    final = False


class DeniedError(ConfigurationError):
    """The store accepts the credentials and denies what they were used for."""


class IntegrityError(StageError):
    """Counts, checksums or offsets do not agree: data is missing, doubled or changed."""

    final = True


class ConflictError(StageError):
    """Other writers kept committing to the same table meanwhile, or changed what was to be changed."""
