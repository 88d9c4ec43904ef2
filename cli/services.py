"""The six services and the platform below them: ports, peers, and the settings of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .home import Home

ROOT = Path(__file__).resolve().parent.parent
MODELS_DIR = ROOT / "models"
HOST = "127.0.0.1"
# Who gives the others their certificates.
ISSUER = "keymanager"
PORT_BASE = 7401
# Each service listens twice: for people and clients, and so much higher for its peers.
PEER_OFFSET = 10


@dataclass(frozen=True)
class Service:
    """One service; `peers` are the services that it calls."""

    name: str
    peers: tuple[str, ...] = ()


# What the services trust: a process without a port, started before them.
PLATFORM = Service("platformd")
# What the user may set for it.
PLATFORM_PASSED = ("PLATFORMD_RELEASE_KEY", "PLATFORMD_UIDS")
# In isolation Python has no folder of ours on its path, and heeds no variable of the environment.
PLATFORM_PROGRAM = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from platformd.__main__ import main; main()"
)

# The position is the offset from the base port.
SERVICES = (
    Service("assembler", ("linker", "keymanager", "knowledge", "gas", "runtime")),
    Service("linker", ("gas", "keymanager")),
    Service("keymanager"),
    Service("knowledge"),
    Service("gas"),
    Service("runtime", ("assembler", "linker", "keymanager", "knowledge", "gas")),
)
SERVICE_NAMES = tuple(service.name for service in SERVICES)


def addresses(port_base: int) -> dict[str, str]:
    """Return service -> host:port."""
    return {name: f"{HOST}:{port_base + offset}" for offset, name in enumerate(SERVICE_NAMES)}


def peer_addresses(port_base: int) -> dict[str, str]:
    """Return service -> host:port where only services may call it."""
    return addresses(port_base + PEER_OFFSET)


def environment(home: Home, service: Service, port_base: int) -> dict[str, str]:
    """Return the settings of one service as docs/architecture.md names them."""
    if service == PLATFORM:
        return {
            "PLATFORMD_SOCKET": str(home.platform_socket),
            "PLATFORMD_DATA_DIR": str(home.data_dir(service.name)),
        }
    listen, peer_listen = addresses(port_base), peer_addresses(port_base)
    settings = {
        "LISTEN": listen[service.name],
        "PEER_LISTEN": peer_listen[service.name],
        "CA_FILE": str(home.ca_file),
        "DATA_DIR": str(home.data_dir(service.name)),
        "IDENTITIES_FILE": str(home.identities_file),
        "LOG_LEVEL": "info",
    }
    settings |= {f"{peer.upper()}_ADDRESS": peer_listen[peer] for peer in service.peers}
    settings["PLATFORM_SOCKET"] = str(home.platform_socket)
    if service.name != ISSUER:
        settings["ISSUER_ADDRESS"] = listen[ISSUER]
        settings["ISSUER_PEER_ADDRESS"] = peer_listen[ISSUER]
    else:
        settings["HOLDERS_FILE"] = str(home.holders_file)
    if service.name == "linker":
        settings["MODELS_DIR"] = str(MODELS_DIR)
    if service.name == "gas":
        settings["WEBHOOK_KEY_FILE"] = str(home.webhook_key_file)
    if service.name == "runtime":
        settings["APPROVAL_KEY_FILE"] = str(home.webhook_key_file)
    return {f"{service.name.upper()}_{key}": value for key, value in settings.items()}
