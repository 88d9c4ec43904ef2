"""The layers of the jail that a worker is told to put on."""

from __future__ import annotations

from dataclasses import dataclass

LANDLOCK = "landlock:"


class LayersMalformed(Exception):
    """A text names no layers."""


@dataclass(frozen=True)
class Layers:
    """What a machine has; `landlock` is the version of its ABI, 0 for none."""

    bubblewrap: bool
    landlock: int
    seccomp: bool

    @property
    def is_strong(self) -> bool:
        """Whether code that left WebAssembly would still stand before a wall, and a second one."""
        return self.seccomp and (self.bubblewrap or self.landlock > 0)

    def __str__(self) -> str:
        named = {
            "bubblewrap": self.bubblewrap,
            f"{LANDLOCK}{self.landlock}": self.landlock,
            "seccomp": self.seccomp,
        }
        return ",".join(name for name, is_there in named.items() if is_there) or "none"


def parse_layers(text: str) -> Layers:
    """Return what `str` made of layers; raise LayersMalformed."""
    names = text.split(",")
    versions = [name.removeprefix(LANDLOCK) for name in names if name.startswith(LANDLOCK)]
    layers = Layers(
        bubblewrap="bubblewrap" in names,
        landlock=int(versions[0]) if versions and versions[0].isdecimal() else 0,
        seccomp="seccomp" in names,
    )
    if str(layers) != text:
        raise LayersMalformed(f"{text[:100]!r}: write such as bubblewrap,landlock:7,seccomp")
    return layers
