"""Says what this machine can run: `python -m linker.machine FOLDER` prints one JSON object.

It is a program of its own because llama.cpp, built for another processor, ends its process.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from .local_config import LocalConfig
from .providers.facts import facts_of
from .providers.gguf import BadGguf, read_header
from .providers.settings import EngineSettings
from .sources import LOCAL_NAME

# How ggml numbers its devices: 0 is the CPU, 3 helps the CPU and is no card.
_CARDS = (1, 2)
# What llama.cpp says of itself, and people ask for.
_FEATURES = ("AVX2", "AVX512", "AVX512_VNNI", "AMX_INT8", "NEON", "SVE")
_LIBRARIES = {"cuda": "CUDA", "hip": "ROCm", "metal": "Metal", "vulkan": "Vulkan", "sycl": "SYCL"}


@dataclass(frozen=True)
class Card:
    """A graphics card that llama.cpp sees."""

    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Weighed:
    """A model on disk: what it would take in memory, and why it would not load."""

    name: str
    memory_bytes: int
    problem: str


@dataclass(frozen=True)
class Machine:
    """What is here; features are those of a processor that llama.cpp was built for."""

    cores: int
    threads: int
    memory_bytes: int
    memory_bytes_for_models: int
    context_tokens: int
    llama: str
    features: tuple[str, ...]
    backends: tuple[str, ...]
    cards: tuple[Card, ...]
    models: tuple[Weighed, ...]


def look_at_machine(folder: Path, config: LocalConfig) -> Machine:
    """Return what is here; this loads llama.cpp, but no model."""
    # It costs a quarter of a second, or the process.
    import llama_cpp  # noqa: PLC0415  # as above
    from llama_cpp import _ggml  # noqa: PLC0415  # the same

    words = llama_cpp.llama_print_system_info().decode("utf-8", "replace").replace("|", " ")
    told = dict(part.split(" = ") for part in _parts(words))
    libraries = [path.name for path in Path(llama_cpp.__file__).parent.glob("lib/libggml-*")]
    return Machine(
        cores=os.cpu_count() or 1,
        threads=config.threads,
        memory_bytes=psutil.virtual_memory().total,
        memory_bytes_for_models=config.memory_bytes,
        context_tokens=config.context_tokens,
        llama=llama_cpp.__version__,
        features=tuple(name for name in _FEATURES if told.get(name) == "1"),
        backends=tuple(
            name
            for library, name in _LIBRARIES.items()
            if any(library in found for found in libraries)
        ),
        cards=tuple(_cards(_ggml.libggml)),
        models=tuple(_weigh(folder, config.context_tokens)),
    )


def _parts(words: str) -> list[str]:
    """Return `NAME = VALUE` for each of them; the first follows the name of its backend."""
    fields = words.replace(" : ", " ").split()
    return [
        f"{fields[at - 1]} = {fields[at + 1]}"
        for at, field in enumerate(fields[:-1])
        if field == "=" and at
    ]


def _cards(ggml: ctypes.CDLL) -> list[Card]:
    """Ask ggml for its devices, which llama-cpp-python does not name."""
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_dev_description.restype = ctypes.c_char_p
    size = ctypes.POINTER(ctypes.c_size_t)
    ggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size, size]
    cards = []
    for number in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(number)
        if ggml.ggml_backend_dev_type(device) not in _CARDS:
            continue
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
        name = ggml.ggml_backend_dev_description(device).decode("utf-8", "replace")
        cards.append(Card(name, total.value))
    return cards


def _weigh(folder: Path, context_tokens: int) -> list[Weighed]:
    settings = EngineSettings(context_tokens_max=context_tokens)
    found = []
    for path in sorted(folder.glob("*.gguf")):
        if not LOCAL_NAME.fullmatch(path.stem):
            continue
        try:
            size = path.stat().st_size
            header = read_header(path)
        except (BadGguf, OSError) as error:
            found.append(Weighed(path.stem, 0, f"{error}"))
        else:
            facts = facts_of(header, settings, size_bytes=size)
            found.append(Weighed(path.stem, facts.memory_bytes or size, ""))
    return found


def main() -> None:
    """Print what is here."""
    machine = look_at_machine(Path(sys.argv[1]), LocalConfig())
    sys.stdout.write(json.dumps(asdict(machine)) + "\n")


if __name__ == "__main__":
    main()
