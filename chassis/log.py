"""Logs: JSON lines on standard output, or colours on a terminal."""

from __future__ import annotations

import sys

import structlog

# Local variables would show secrets and prompts.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def install_log(service: str, level: str) -> None:
    """Set the log of this process up; every line names the service."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stdout.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _TRACEBACKS if not sys.stdout.isatty() else structlog.processors.ExceptionRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(),
    )
    structlog.contextvars.bind_contextvars(service=service)


log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
