"""Settings of the key manager."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig


class KeymanagerConfig(ServiceConfig):
    """`KEYMANAGER_…` in the environment."""

    model_config = SettingsConfigDict(env_prefix="KEYMANAGER_", frozen=True)

    # It gives the certificates, its own, too.
    needs_for_tls = ("peer_listen", "ca_file")

    certificate_seconds: int = Field(
        default=600, ge=2, le=86_400, description="how long the certificate of a service is valid"
    )
