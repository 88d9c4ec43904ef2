"""The action `mail.send`: a message to the people whom the author of the agent names."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP

from pydantic import JsonValue

from chassis.canonical import sha256_hex

from ...egress import Refused
from ...egress.addresses import read_url
from ...egress.client import Egress
from ...facts import Failure
from ...ports import RunFails, Signer, WebRequest
from .. import Descriptor, Order, Result, closed_object
from ..http import REFUSAL_CHARACTERS_MAX, preparing
from ..keyed import hidden, told
from .smtp import Envelope, Server, hand_in

SUBJECT_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 64_000
RECIPIENTS_MAX = 16
PORTS = {"tls": 465, "starttls": 587}

_ADDRESS: JsonValue = {
    "type": "string",
    "pattern": "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,253}$",
}
_PROPERTIES: dict[str, JsonValue] = {
    "host": {
        "type": "string",
        "pattern": "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
        "description": "The mail server that takes messages of this user.",
    },
    "port": {"type": "integer", "minimum": 1, "maximum": 65_535},
    "security": {
        "enum": [*PORTS],
        "description": "TLS from the beginning (tls, port 465), which it is if nothing is said,"
        " or from STARTTLS on (starttls, port 587).",
    },
    "from": _ADDRESS,
    "to": {
        "type": "array",
        "items": _ADDRESS,
        "minItems": 1,
        "maxItems": RECIPIENTS_MAX,
        "uniqueItems": True,
    },
}
_DESCRIPTOR = Descriptor(
    name="mail.send",
    description="Sends an e-mail to the people whom it is for.",
    parameters_schema=closed_object(
        subject={
            "type": "string",
            # One line.
            "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]+$",
            "maxLength": SUBJECT_CHARACTERS_MAX,
        },
        text={"type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX},
    ),
    effect="write",
    needs_credential=True,
    settings_schema={
        "type": "object",
        "properties": _PROPERTIES,
        "required": ["host", "from", "to"],
        "additionalProperties": False,
    },
    output_schema=closed_object(sent={"type": "boolean"}, message_id={"type": "string"}),
)


class MailSend:
    """Sends at most once: a server takes a message with a known `Message-ID` again."""

    def __init__(self, egress: Egress, signer: Signer) -> None:
        self._egress = egress
        self._signer = signer

    @property
    def descriptor(self) -> Descriptor:
        """Return what the catalogue says."""
        return _DESCRIPTOR

    async def perform(self, order: Order) -> Result:
        """Hand the message to the server."""
        server, message = _server(order), _message(order)
        scheme = "smtps" if server.is_tls else "smtp"
        wanted = WebRequest("smtp", "", f"{scheme}://{server.host}:{server.port}")
        async with preparing():
            authorized = await self._signer.authorize_request(
                order.credential, wanted, account=order.account
            )
        recipients = [one.strip() for one in str(message["To"]).split(",")]
        content = message.as_bytes()
        envelope = Envelope(str(message["From"]), recipients, content)
        try:
            await hand_in(self._egress, server, authorized.headers["AUTH"], envelope)
        except Refused as error:
            words = hidden(error.message.encode(), wanted, authorized).decode()
            return told(error.reason, words[:REFUSAL_CHARACTERS_MAX])
        return Result({"sent": True, "message_id": str(message["Message-ID"])})

    async def find(self, order: Order) -> Result | None:
        """Never happens: a server that takes messages does not tell of them."""
        raise AssertionError(order.key)


def _server(order: Order) -> Server:
    settings = order.settings
    security = str(settings.get("security", "tls"))
    port = settings.get("port", PORTS[security])
    assert isinstance(port, int | float), "settings are valid under the schema"
    try:
        host = read_url(f"https://{settings['host']}").host
    except Refused as error:
        problem = f"the setting host: {error.message}; correct it and assemble again"
        raise RunFails(Failure("SETTINGS_INVALID", problem)) from error
    return Server(host, int(port), is_tls=security == "tls")


def _message(order: Order) -> EmailMessage:
    """Return the message, the same for the same order, in lines of ASCII."""
    sender, recipients = str(order.settings["from"]), order.settings["to"]
    assert isinstance(recipients, list), "settings are valid under the schema"
    domain = sender.rpartition("@")[2]
    message = EmailMessage(SMTP.clone(cte_type="7bit"))
    message["From"] = sender
    message["To"] = ", ".join(map(str, recipients))
    message["Subject"] = str(order.arguments["subject"])
    message["Date"] = order.time
    message["Message-ID"] = f"<{sha256_hex(order.key.encode())[:40]}@{domain}>"
    # People who are away need not tell a machine.
    message["Auto-Submitted"] = "auto-generated"
    text = str(order.arguments["text"]).encode(errors="replace").decode()
    message.set_content(text, cte="base64")
    return message
