"""What a manifest may say about actions: of the catalogue, of other agents, and of its own code."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from .part import Id, Part, SafePath, seconds_of
from .rules import RULES_MAX, Rule

SEMVER = (
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)
AGENT = "agent:"
# With `.ask` behind it, the name of the agent is the name of the action.
_AGENT_NAME = "[a-z0-9][a-z0-9-]{0,59}"
# What one action of code may be made of, and use.
GRANTS_MAX = 16
PACKAGES_MAX = 16
FUEL_MIN, FUEL_MAX = 10_000_000, 100_000_000_000
MEMORY_MEBIBYTES_MIN, MEMORY_MEBIBYTES_MAX = 16, 512
CODE_SECONDS_MAX = 600
HOST_CALLS_MAX = 1_000


def _check_use(name: JsonValue) -> JsonValue:
    if isinstance(name, str) and name.startswith("mcp:"):
        raise PydanticCustomError(
            "NOT_SUPPORTED_YET", "actions of MCP servers are not supported yet"
        )
    return name


def _check_source(path: str) -> str:
    if not path.endswith((".py", ".wasm")):
        told = "must be a Python file with `.py` at its end, or a component with `.wasm`"
        raise PydanticCustomError("INVALID_VALUE", told)
    return path


def _check_seconds(timeout: str) -> str:
    if seconds_of(timeout) > CODE_SECONDS_MAX:
        raise PydanticCustomError("OUT_OF_RANGE", "is more than 10m")
    return timeout


class ActionLimits(Part):
    """How often an action may happen."""

    per_run: int = Field(
        default=0, ge=1, le=1_000_000, description="most calls in one run", examples=[1]
    )
    per_day: int = Field(
        default=0, ge=1, le=1_000_000, description="most calls in a day, in UTC", examples=[10]
    )


class Grant(Part):
    """Something that code may do, as far as it declares it."""

    use: Annotated[str, BeforeValidator(_check_use)] = Field(
        max_length=136,
        pattern=f"^([a-z0-9_.-]{{1,64}}|{AGENT}{_AGENT_NAME}(@{SEMVER})?)$",
        description="an action of the catalogue, or `agent:` and an agent's name of at most 60",
        examples=["knowledge.search"],
    )
    credential: Id = Field(
        default="", description="the name of the secret that it uses", examples=["board-key"]
    )
    settings: dict[str, JsonValue] = Field(default={}, description="what the action asks for")
    limits: ActionLimits = Field(default=ActionLimits(), examples=[{"per_run": 1}])
    approval: Literal["allow", "ask", "deny"] = Field(
        default="allow",
        description="what happens to a call: `ask` leaves it to a person",
        examples=["ask"],
    )
    policy: list[Rule] = Field(
        default=[],
        max_length=RULES_MAX - 1,
        description="what a call must keep to, and what happens to one that does not",
        examples=[[{"name": "daily", "most": 10, "per": "day"}]],
    )


class Compute(Part):
    """How much one call of code may use."""

    fuel: int = Field(
        default=2_000_000_000,
        ge=FUEL_MIN,
        le=FUEL_MAX,
        description="most instructions, of which a second has some billions",
        examples=[2_000_000_000],
    )
    memory: int = Field(
        default=64,
        ge=MEMORY_MEBIBYTES_MIN,
        le=MEMORY_MEBIBYTES_MAX,
        description="most memory, in MiB",
        examples=[64],
    )
    timeout: Annotated[str, AfterValidator(_check_seconds)] = Field(
        default="30s",
        pattern="^[1-9][0-9]{0,5}[smh]$",
        description="longest time, with all that it waits for, at most 10m",
        examples=["30s"],
    )
    calls: int = Field(
        default=20,
        ge=1,
        le=HOST_CALLS_MAX,
        description="most calls of what it was granted",
        examples=[20],
    )


class Action(Grant):
    """Something that the agent may do: `use` names it, or `source` has its code."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["use"]}, {"required": ["source"]}]}
    )

    use: Annotated[str, BeforeValidator(_check_use)] = Field(
        default="",
        max_length=136,
        pattern=f"^([a-z0-9_.-]{{1,64}}|{AGENT}{_AGENT_NAME}(@{SEMVER})?)$",
        description="an action of the catalogue, or `agent:` and an agent's name of at most 60",
        examples=["knowledge.search"],
    )
    source: Annotated[SafePath, AfterValidator(_check_source)] = Field(
        default="",
        description="a Python file, or a component of WebAssembly, beside the manifest",
        examples=["actions/score.py"],
    )
    function: str = Field(
        default="",
        pattern="^[a-z0-9_.-]{1,64}$",
        description="which action of the file, if it has several",
        examples=["score"],
    )
    packages: list[SafePath] = Field(
        default=[],
        max_length=PACKAGES_MAX,
        description="folders of pure Python that the code imports",
        examples=[["actions/textkit"]],
    )
    grants: list[Grant] = Field(
        default=[],
        max_length=GRANTS_MAX,
        description="what the code may use, of what it declares",
        examples=[[{"use": "knowledge.search"}]],
    )
    compute: Compute = Field(
        default=Compute(),
        description="how much one call of the code may use",
        examples=[{"timeout": "30s"}],
    )
    required: bool = Field(
        default=False, description="whether a run must do it to succeed", examples=[True]
    )
