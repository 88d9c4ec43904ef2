"""Prices the largest step that an agent can take."""

from __future__ import annotations

from collections.abc import Mapping

from chassis.draft import Draft, FieldPath
from chassis.problems import Severity

from .actions import Action
from .agents import account_of
from .compiling import ACTIONS, Compiled
from .manifest import Manifest
from .ports import Link, Quotes, Refusal
from .problems import Code
from .references import FALLBACKS, MODEL

_CALL = {"connector_calls": 1}
# Fuel has a price by the thousand instructions.
_FUEL_UNIT = 1_000


def models(draft: Draft) -> list[FieldPath]:
    """Return the fields that name the models of a draft."""
    return [MODEL, *((*path, "use") for path in draft.items(FALLBACKS))]


class Quote:
    """Asks for the prices of one manifest, and reports those that there are none of."""

    def __init__(self, draft: Draft, manifest: Manifest, quotes: Quotes) -> None:
        self._draft = draft
        self._spec = manifest.spec
        self._quotes = quotes

    async def step(self, link: Link, code: Mapping[int, Compiled]) -> int:
        """Return the price of the largest step: a full context, a full answer, one action.

        What other agents spend is on their own accounts.
        """
        draft, spec = self._draft, self._spec
        usages = {"input_tokens": link.context_tokens, "output_tokens": spec.model.tokens_max}
        names = (spec.model.use, *(one.use for one in spec.model.fallbacks))
        model_gas = 0
        for path, name in zip(models(draft), names, strict=True):
            model_gas = max(model_gas, await self._price(path, f"model {name}", usages))
        action_gas = 0
        for index, path in enumerate(draft.items(ACTIONS)):
            action = spec.actions[index]
            if action.source:
                gas = await self._code(path, action, code[index])
            else:
                gas = await self._call(path, action.use)
            action_gas = max(action_gas, gas)
        step_gas_max = model_gas + action_gas
        for part, most in (("budget", spec.budget.gas), ("limits", spec.limits.gas)):
            if 0 < most < step_gas_max:
                message = f"one step can cost {step_gas_max} gas, more than the {most} of {part}"
                fix = "Raise it, or lower `spec.model.tokens_max`."
                field: FieldPath = ("spec", part, "gas")
                warning = Severity.WARNING
                draft.report(field, Code.BUDGET_TIGHT, message, fix=fix, severity=warning)
        return step_gas_max

    async def _code(self, path: FieldPath, action: Action, compiled: Compiled) -> int:
        """Return the price of code that uses all that it may, and calls what is dearest."""
        compute = action.compute
        usages = {"sandbox_fuel": compute.fuel // _FUEL_UNIT, "host_calls": compute.calls}
        gas = await self._price((*path, "source"), f"code {compiled.action.name}", usages)
        calls: list[int] = []
        for grant_path, grant in zip(
            self._draft.items((*path, "grants")), action.grants, strict=True
        ):
            if grant.use in compiled.capabilities:
                most = min(compute.calls, grant.limits.per_run or compute.calls)
                calls += [await self._call(grant_path, grant.use)] * most
        return gas + sum(sorted(calls, reverse=True)[: compute.calls])

    async def _call(self, path: FieldPath, use: str) -> int:
        # Another agent pays for itself.
        return 0 if account_of(use) else await self._price((*path, "use"), f"action {use}", _CALL)

    async def _price(self, path: FieldPath, item: str, usages: Mapping[str, int]) -> int:
        gas = await self._quotes.quote(item, usages)
        if isinstance(gas, Refusal):
            self._draft.report(path, gas.code, gas.message)
            return 0
        return gas
