"""Settings of the key manager."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig


class KeymanagerConfig(ServiceConfig):
    """The platform that it trusts."""

    model_config = SettingsConfigDict(env_prefix="KEYMANAGER_", frozen=True)

    platform: Literal["soft", "tpm2"] = Field(
        default="soft", description="soft: platformd, an emulation; tpm2: a TPM 2.0"
    )
    platform_socket: Path | None = Field(default=None, description="the socket of platformd")
    tpm_tcti: str = Field(
        default="device:/dev/tpmrm0", description="how to reach the TPM, as tpm2-tss says it"
    )
    tpm_release_file: Path | None = Field(
        default=None, description="what the release key approves, for the policy of the signer"
    )
    accept_rollback: bool = Field(
        default=False,
        description="start although keymanager.db is older than what the platform remembers",
    )
