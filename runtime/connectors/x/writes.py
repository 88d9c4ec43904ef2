"""The actions that change something on X: `x.post`, `x.delete` and `x.like`."""

from __future__ import annotations

from pydantic import JsonValue

from .. import Connector, Descriptor, Order, Quota, Result, closed_object
from ..http import preparing
from .api import SETTINGS_SCHEMA, Api, XAction, data_of, id_of, segment

# Of an author who pays for more; anybody else has 280, which X counts in a way of its own.
TEXT_CHARACTERS_MAX = 25_000

# What X publishes for one user of an app.
_QUARTER, _DAY = 900.0, 86_400.0


def _id(description: str) -> JsonValue:
    return {"type": "string", "pattern": "^[0-9]{1,19}$", "description": description}


_POST = Descriptor(
    name="x.post",
    description=(
        "Posts a text on X, where everybody can read it: 280 characters, of which a link takes 23."
        " A text that was posted a short time ago is refused."
    ),
    parameters_schema={
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX},
            "reply_to": _id("The id of the post that this one answers."),
            "quote": _id("The id of a post that this one shows."),
        },
        "required": ["text"],
        "additionalProperties": False,
    },
    effect="write",
    needs_credential=True,
    settings_schema=SETTINGS_SCHEMA,
    quotas=(Quota("x.posts", 100, _QUARTER),),
    output_schema=closed_object(posted={"type": "boolean"}, id={"type": "string"}),
)
_DELETE = Descriptor(
    name="x.delete",
    description="Deletes a post of one's own on X, for good.",
    parameters_schema=closed_object(id=_id("The id of a post.")),
    effect="write",
    needs_credential=True,
    settings_schema=SETTINGS_SCHEMA,
    # A post that was deleted is not there to be deleted again.
    is_idempotent=True,
    quotas=(Quota("x.deletes", 50, _QUARTER),),
    output_schema=closed_object(deleted={"type": "boolean"}),
)
_LIKE = Descriptor(
    name="x.like",
    description="Likes a post on X.",
    parameters_schema=closed_object(id=_id("The id of a post.")),
    effect="write",
    needs_credential=True,
    settings_schema=SETTINGS_SCHEMA,
    # A user likes a post or does not; there is no liking it twice.
    is_idempotent=True,
    quotas=(Quota("x.likes", 50, _QUARTER), Quota("x.likes.day", 1_000, _DAY)),
    output_schema=closed_object(liked={"type": "boolean"}),
)


def writes(api: Api) -> tuple[Connector, ...]:
    """Return the actions."""
    return XAction(_POST, api, _post), XAction(_DELETE, api, _delete), XAction(_LIKE, api, _like)


async def _post(api: Api, order: Order) -> Result:
    arguments = order.arguments
    body: dict[str, JsonValue] = {"text": arguments["text"]}
    if "reply_to" in arguments:
        body["reply"] = {"in_reply_to_tweet_id": arguments["reply_to"]}
    if "quote" in arguments:
        body["quote_tweet_id"] = arguments["quote"]
    said = await api.write(order, "POST", "/2/tweets", body)
    if isinstance(said, Result):
        return said
    return Result({"posted": True, "id": id_of(data_of(said))})


async def _delete(api: Api, order: Order) -> Result:
    said = await api.write(order, "DELETE", f"/2/tweets/{segment(order, 'id')}")
    if isinstance(said, Result):
        # Maybe it was deleted by this call, whose first answer got lost.
        return Result({"deleted": True}) if said.reason == "NOT_FOUND" else said
    if data_of(said).get("deleted") is True:
        return Result({"deleted": True})
    return _undone("NOT_DELETED", "X did not delete the post")


async def _like(api: Api, order: Order) -> Result:
    # Whatever comes of asking who one is, nothing is liked yet.
    async with preparing():
        user = await api.own_id(order)
    if isinstance(user, Result):
        return user
    path = f"/2/users/{user}/likes"
    said = await api.write(order, "POST", path, {"tweet_id": order.arguments["id"]})
    if isinstance(said, Result):
        return said
    if data_of(said).get("liked") is True:
        return Result({"liked": True})
    return _undone("NOT_LIKED", "X did not count the like")


def _undone(reason: str, message: str) -> Result:
    return Result({"error": reason, "message": message}, reason=reason)
