"""Actions that a run does by itself: they are in the catalogue, and nobody performs them."""

from __future__ import annotations

from . import Descriptor, Order, Result


class Own:
    """A connector that has nothing but a descriptor."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor

    @property
    def descriptor(self) -> Descriptor:
        """Return what the catalogue says."""
        return self._descriptor

    async def perform(self, order: Order) -> Result:
        """Never happens: the run does it itself."""
        raise AssertionError(order.key)

    async def find(self, order: Order) -> Result | None:
        """Never happens, as `perform`."""
        raise AssertionError(order.key)
