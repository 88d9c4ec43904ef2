"""Settings of the key manager."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig


class KeymanagerConfig(ServiceConfig):
    """Nothing but what every service needs."""

    model_config = SettingsConfigDict(env_prefix="KEYMANAGER_", frozen=True)
