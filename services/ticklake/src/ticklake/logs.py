"""Logs on stdout: JSON in a container, readable on a terminal. One configuration for ours and for libraries' logs."""

import logging
import sys
from typing import Any, Literal

import structlog

# kafka-python reports each attempt of its reconnects; what matters of it comes back as an exception.
_NOISY = {
    "kafka": logging.CRITICAL,
    "botocore": logging.WARNING,
    "urllib3": logging.WARNING,
    "py4j": logging.WARNING,
    "pyiceberg": logging.WARNING,
}


def configure(level: str = "INFO", log_format: Literal["auto", "json", "console"] = "auto", **context: Any) -> None:
    """Set up logging for this process; `context` (stage, run_id, …) is on every line."""
    readable = log_format == "console" or (log_format == "auto" and sys.stdout.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if readable else "iso", utc=not readable),
    ]
    last: structlog.typing.Processor
    if readable:
        last = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), pad_event_to=0)
    else:
        shared.append(structlog.processors.format_exc_info)
        last = structlog.processors.JSONRenderer(default=str)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _NOISY.items():
        logging.getLogger(name).setLevel(least)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**context)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """The logger called `name`; call it with an event and key-value pairs."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
