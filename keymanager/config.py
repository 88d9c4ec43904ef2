"""Settings of the key manager."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig

CERTIFICATE_SECONDS_MAX = 86_400


class KeymanagerConfig(ServiceConfig):
    """`KEYMANAGER_…` in the environment."""

    model_config = SettingsConfigDict(env_prefix="KEYMANAGER_", frozen=True)

    # It gives the certificates, its own, too.
    needs_for_tls = ("peer_listen", "ca_file")

    certificate_seconds: int = Field(
        default=600,
        ge=2,
        le=CERTIFICATE_SECONDS_MAX,
        description="how long the certificate of a service is valid",
    )
    platform: Literal["soft", "tpm2"] = Field(
        default="soft", description="soft: platformd, an emulation; tpm2: a TPM 2.0"
    )
    tpm_tcti: str = Field(
        default="device:/dev/tpmrm0", description="how to reach the TPM, as tpm2-tss says it"
    )
    tpm_release_file: Path | None = Field(
        default=None, description="what the release key approves, for the policy of the signer"
    )
    platformd_key: str = Field(
        default="",
        pattern="^([0-9a-f]{64})?$",
        description="with tpm2: the Ed25519 key (hex) of the platformd that measures the services",
    )
    holders_file: Path | None = Field(
        default=None, description="JSON: name of a holder of recovery shares -> X25519 key (hex)"
    )
    accept_rollback: bool = Field(
        default=False,
        description="start although keymanager.db is older than what the platform remembers",
    )
