"""Settings of the knowledge storage."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig


class KnowledgeConfig(ServiceConfig):
    """Nothing but what every service needs."""

    model_config = SettingsConfigDict(env_prefix="KNOWLEDGE_", frozen=True)
