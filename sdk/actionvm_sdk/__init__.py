"""What the code of an action is written with.

One function is one action: its types say what a model may hand it, its docstring says what it does,
`capabilities` says what it may use. Whoever runs the agent grants each of them, or does not.

    from actionvm_sdk import Context, action

    @action(capabilities=["web.get"])
    def price(ctx: Context, coin: str) -> float:
        \"\"\"Return the price of a coin in USD.\"\"\"
        answer = ctx.http.get("https://prices.example.org/v1", query={"coin": coin})
        return float(answer.json()["usd"])
"""

from __future__ import annotations

from .actions import Action, action
from .context import Call, CallError, Context, Denied, Host, Passage, Response
from .schemas import Field, SchemaError

__all__ = [
    "Action",
    "Call",
    "CallError",
    "Context",
    "Denied",
    "Field",
    "Host",
    "Passage",
    "Response",
    "SchemaError",
    "action",
]
