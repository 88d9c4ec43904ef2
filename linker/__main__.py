"""Starts the linker: `python -m linker`."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from chassis import server
from chassis.clock import SystemClock
from chassis.config import load
from chassis.server import Hosted
from chassis.telemetry import Telemetry
from chassis.witness import remembering
from enrolment.join import join

from .answers import Answers
from .clients import GasClient, KeysClient
from .config import LinkerConfig
from .keys import Keyring
from .linker import LOCAL, Linker
from .opening import Opener
from .paying import Cashier
from .ports import Hub, Provider
from .providers.local import LocalProvider
from .providers.recordings import NoKeys, RecordingProvider, Recordings, ReplayingProvider
from .providers.registry import providers_of
from .providers.settings import Placement
from .providers.shelf import Shelf
from .providers_file import read_providers
from .routing.route import Router
from .routing.turns import Turns
from .service import LinkerService, hosted
from .settings import ProviderSettings
from .store import KeptAnswers, LinkStore, open_link_database


@asynccontextmanager
async def open_service(config: LinkerConfig, telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Build the service on the links of its data folder and the models of this machine."""
    server.ensure_private_folder(config.data_dir)
    database = open_link_database(config.data_dir / "linker.db")
    settings = read_providers(config.providers_file)
    providers = _providers(config, settings)
    budgets = {"local": LOCAL, **{name: one.rate for name, one in settings.items()}}
    async with (
        remembering(config.data_dir / "keymanager.mark") as witness,
        join(config) as member,
        member.connect(config.gas_address, "gas", interceptors=telemetry.client) as gas,
        member.connect(
            config.keymanager_address,
            "keymanager",
            interceptors=(*telemetry.client, *witness.interceptors),
        ) as keymanager,
    ):
        clock = SystemClock()
        is_replay = config.recordings is not None and config.recordings_mode == "replay"
        keys = NoKeys() if is_replay else KeysClient(keymanager)
        linker = Linker(
            Opener(providers, Keyring(keys, clock)),
            LinkStore(database),
            Cashier(GasClient(gas)),
            clock,
            router=Router(time.monotonic, random.Random()),  # noqa: S311  # dice, not keys
            turns=Turns(budgets, monotonic=time.monotonic),
            answers=Answers(KeptAnswers(database), clock),
        )
        try:
            yield hosted(LinkerService(linker, Shelf(config.models_dir, open_hub))).of(member)
        finally:
            for provider in providers.values():
                await provider.close()
            await linker.close()
            database.dispose()


def open_local(config: LinkerConfig) -> LocalProvider:
    """Return the models of this machine."""
    return LocalProvider(
        config.models_dir,
        threads=config.threads,
        context_tokens_max=config.context_tokens,
        memory_bytes_max=config.memory_bytes,
        idle_seconds=config.idle_seconds,
        placement=Placement(
            gpu_layers=config.gpu_layers,
            main_gpu=config.main_gpu,
            tensor_split=config.tensor_split,
        ),
    )


def _providers(
    config: LinkerConfig, settings: Mapping[str, ProviderSettings]
) -> dict[str, Provider]:
    """Return the providers by name, recorded or played where that is asked for."""
    providers: dict[str, Provider] = {"local": open_local(config), **providers_of(settings)}
    if config.recordings is None:
        return providers
    recordings = Recordings(config.recordings)
    if config.recordings_mode == "replay":
        return {name: ReplayingProvider(name, recordings) for name in providers}
    return {
        name: RecordingProvider(name, provider, recordings) for name, provider in providers.items()
    }


def open_hub() -> Hub:
    """Return the hub; its package takes half a second, so only who pulls imports it."""
    from .providers.hub import HuggingFaceHub  # noqa: PLC0415  # as above

    return HuggingFaceHub()


def main() -> None:
    """Serve until SIGTERM."""
    server.run("linker", load(LinkerConfig), open_service)


if __name__ == "__main__":
    main()
