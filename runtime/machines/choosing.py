"""Which machine a program is for."""

from __future__ import annotations

from typing import Any

from ..program import Program
from . import Machine
from .agent import AgentLoop
from .workflow import WorkflowMachine


# Who drives a machine hands its states back to it and looks at none.
def machine_of(program: Program) -> Machine[Any]:
    """Return the steps of its workflow, or the loop of an agent."""
    return WorkflowMachine(program) if program.workflow else AgentLoop(program)
