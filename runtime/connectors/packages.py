"""Connectors of other packages, of which the operator has to name each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TypeAlias

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from ..egress.client import Egress
from ..ports import Signer
from . import Connector

# Packages name a family of actions here; the value is `module:function`, a `Make`.
ENTRY_POINTS = "actionvm.connectors"

# Gives the connectors of a family; it asks through this egress, with keys of this signer.
Make: TypeAlias = Callable[[Egress, Signer], Sequence[Connector]]

_ACTION = re.compile(r"[a-z][a-z0-9-]*")


class PackageUnusable(ValueError):
    """A package that cannot be used, and the way out."""


def find_packages(names: Sequence[str]) -> dict[str, Make]:
    """Return what makes the connectors of these families; raise `PackageUnusable`."""
    found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if unknown := [name for name in names if name not in found]:
        there = f"there are {', '.join(sorted(found))}" if found else "there is none"
        told = f"no installed package has connectors named {', '.join(unknown)}; {there}"
        raise PackageUnusable(f"{told}. Install it where the runtime runs, or leave it out")
    return {name: _load(found[name]) for name in names}


def add_packages(
    names: str, built_in: Mapping[str, Connector], egress: Egress, signer: Signer
) -> dict[str, Connector]:
    """Return connectors by the names of their actions, with those of packages that are named."""
    return add_made(find_packages(names.split()), built_in, egress, signer)


def add_made(
    makes: Mapping[str, Make], built_in: Mapping[str, Connector], egress: Egress, signer: Signer
) -> dict[str, Connector]:
    """Return connectors by the names of their actions, with what these functions make.

    An action of a package is named after its family. None takes the place of one that is built in,
    or is in a family of these. Raise `PackageUnusable`.
    """
    families = {name.partition(".")[0] for name in built_in}
    added: dict[str, Connector] = {}
    for family, make in makes.items():
        if family in families:
            raise PackageUnusable(f"{family}: the runtime has such actions itself; rename yours")
        for connector in make(egress, signer):
            _require_declared(family, connector)
            name = connector.descriptor.name
            if name in added:
                raise PackageUnusable(f"{name} is there twice; leave one of them out")
            added[name] = connector
    return {**built_in, **added}


def _load(point: EntryPoint) -> Make:
    try:
        make: Make = point.load()
    except Exception as error:  # whatever the code of others may raise
        told = f"{point.value} cannot be loaded, {type(error).__name__}: {error}"
        raise PackageUnusable(f"{point.name}: {told}") from error
    if not callable(make):
        raise PackageUnusable(f"{point.name}: {point.value} is no function")
    return make


def _require_declared(family: str, connector: Connector) -> None:
    descriptor = connector.descriptor
    before, _, name = descriptor.name.partition(".")
    if before != family or not _ACTION.fullmatch(name):
        told = f"name it {family}. and a word of lower-case letters"
        raise PackageUnusable(f"{descriptor.name}: {told}")
    for schema in (
        descriptor.parameters_schema,
        descriptor.settings_schema,
        descriptor.output_schema,
    ):
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise PackageUnusable(f"{descriptor.name}: {error.message}") from error
    if descriptor.quotas and descriptor.effect == "read":
        raise PackageUnusable(f"{descriptor.name}: only writes have quotas")
