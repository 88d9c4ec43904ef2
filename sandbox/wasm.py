"""Reads what a component imports, before a byte of it is compiled.

Only the sections at the top are walked, as the binary format of the component model has them; what
is inside of them is for the compiler, which is the worker's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

COMPONENT_BYTES_MAX = 512 * 1024
_SECTIONS_MAX = 10_000
_IMPORTS_MAX = 64
_NAME_MAX = 256
_BYTES_OF_U32 = 5

_MAGIC = b"\0asm"
_CORE = b"\x01\0\0\0"
_COMPONENT = b"\x0d\0\x01\0"
# What wasmtime compiles to, a `.cwasm`, is a file of machine code.
_ELF = b"\x7fELF"
_IMPORT_SECTION = 10
_NAMES = (0x00, 0x01)
_INSTANCE = 0x05

HOST = "actionvm:action/host@0.1.0"
# Those of which `machine.py` has functions.
_ALLOWED = re.compile(
    "actionvm:action/host@0[.]1[.]0|wasi:(cli/environment|clocks/(wall|monotonic)-clock|"
    "random/random|filesystem/preopens)@0[.]2[.][0-9]{1,3}"
)


@dataclass(eq=False)
class ComponentRefused(Exception):
    """It is not executed; `kind` is that of a flaw."""

    kind: str
    told: str

    def __str__(self) -> str:
        """Return why."""
        return self.told


def check_component(wasm: bytes) -> None:
    """Raise `ComponentRefused` unless it is a component that imports what everybody may."""
    if len(wasm) > COMPONENT_BYTES_MAX:
        told = f"{len(wasm)} bytes are more than {COMPONENT_BYTES_MAX}; strip it, optimize for size"
        raise ComponentRefused("syntax", told)
    if wasm.startswith(_ELF):
        told = "compiled machine code is never taken; hand in the component it was compiled from"
        raise ComponentRefused("syntax", told)
    if wasm[:8] == _MAGIC + _CORE:
        told = "a core module; make a component of it with `wasm-tools component new`"
        raise ComponentRefused("syntax", told)
    if wasm[:8] != _MAGIC + _COMPONENT:
        raise ComponentRefused("syntax", "not a component of WebAssembly")
    for name in _imports(_Reader(wasm, 8)):
        if not _ALLOWED.fullmatch(name):
            raise ComponentRefused("import", name)


def _imports(reader: _Reader) -> Iterator[str]:
    """Yield the name of each import."""
    for _ in range(_SECTIONS_MAX):
        if reader.is_at_end:
            return
        kind = reader.byte()
        section = reader.part(reader.number())
        if kind == _IMPORT_SECTION:
            count = section.number()
            if count > _IMPORTS_MAX:
                raise ComponentRefused("import", f"{count} imports are more than {_IMPORTS_MAX}")
            for _ in range(count):
                yield _import(section)
    raise ComponentRefused("syntax", f"it has more than {_SECTIONS_MAX} sections")


def _import(section: _Reader) -> str:
    if section.byte() not in _NAMES:
        raise ComponentRefused("import", "an import of a kind that nobody may have")
    name = section.text(section.number())
    if section.byte() != _INSTANCE:
        # A function or a type by itself: nobody has it, and what follows need not be read.
        raise ComponentRefused("import", name)
    section.number()
    return name


class _Reader:
    """Bytes of which some are read."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def byte(self) -> int:
        return self._take(1)[0]

    def number(self) -> int:
        """Return a `u32` in LEB128."""
        value = 0
        for index in range(_BYTES_OF_U32):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:  # noqa: PLR2004  # the bit that says whether another one follows
                return value
        raise ComponentRefused("syntax", f"a number at byte {self._at} has no end")

    def text(self, size: int) -> str:
        if size > _NAME_MAX:
            raise ComponentRefused("import", f"a name of {size} bytes")
        return self._take(size).decode(errors="replace")

    def part(self, size: int) -> _Reader:
        return _Reader(self._take(size))

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise ComponentRefused(
                "syntax", f"it ends after {len(self._data)} bytes, in the middle"
            )
        self._at += size
        return taken
