"""Opens the platform that the settings name."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Protocol

from platformd.client import Connection

from ..sealing import RandomBytes
from .port import Platform, PlatformUnavailable
from .soft import SoftPlatform

ANSWER_SECONDS = 30.0


class PlatformSettings(Protocol):
    """The settings of the key manager that say which platforms it trusts."""

    @property
    def platform(self) -> str:
        """Either soft or tpm2."""

    @property
    def platform_socket(self) -> Path | None:
        """Where platformd listens."""

    @property
    def tpm_tcti(self) -> str:
        """How to reach the TPM."""

    @property
    def tpm_release_file(self) -> Path | None:
        """What the release key approves."""


def open_platform(config: PlatformSettings, *, random_bytes: RandomBytes) -> Platform:
    """Return the platform; raise PlatformUnavailable if it cannot be had with these settings.

    The soft platform connects when it is first asked: before that it may still be starting.
    """
    if config.platform == "tpm2":
        # An extra: who does not use a TPM need not have its libraries.
        from .tpm2 import open_tpm  # noqa: PLC0415

        return open_tpm(
            config.tpm_tcti, release_file=config.tpm_release_file, random_bytes=random_bytes
        )
    return open_platformd(config, random_bytes=random_bytes)


def open_platformd(config: PlatformSettings, *, random_bytes: RandomBytes) -> SoftPlatform:
    """Return the soft platform, which measures the services whatever seals for the key manager."""
    path = config.platform_socket
    if path is None:
        raise PlatformUnavailable("platformd measures the services: set KEYMANAGER_PLATFORM_SOCKET")
    return SoftPlatform(
        lambda: Connection(path, timeout_seconds=ANSWER_SECONDS),
        random_bytes=random_bytes,
        pause=Event().wait,
    )
