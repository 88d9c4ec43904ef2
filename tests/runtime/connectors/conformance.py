"""What every connector does, whatever it speaks.

A class of tests that inherits from `Conformance` runs its `subjects` through the suite; from
`Declared`, only what needs no service. Connectors of other packages use the same:
docs/connectors.md.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator
from pydantic import JsonValue

from chassis.errors import PeerUnavailable
from runtime.connectors import Draft, Unsent
from runtime.facts import Failure
from runtime.ports import PersonAwaited, RunFails
from tests.fakes.front import Fault, Says
from tests.runtime.connectors.stand import CANARY, Staged, Stand, Subject, check_result, shows_key

QUOTA_SECONDS_MAX = 31 * 86_400
NONSENSE = [
    b"",
    b"[]",
    b"7",
    b"<html>",
    b"\xff",
    b"[" * 10_000,
    b'{"data": "' + b"x" * (2 * 1024 * 1024) + b'"}',
]


def _id(value: object) -> str:
    return str(value)[:24]


class Declared(Staged):
    """What an action says about itself."""

    async def test_its_schemas_are_schemas(self, stand: Stand) -> None:
        descriptor = stand.connector.descriptor
        for schema in (
            descriptor.parameters_schema,
            descriptor.settings_schema,
            descriptor.output_schema,
        ):
            Draft202012Validator.check_schema(schema)
            assert schema, "a model, an author or a step of code relies on it"

    async def test_it_is_named_and_described(self, subject: Subject, stand: Stand) -> None:
        descriptor = stand.connector.descriptor
        assert descriptor.name == subject.name
        assert 10 < len(descriptor.description) < 600

    async def test_arguments_that_it_does_not_have_are_refused(self, stand: Stand) -> None:
        validator = Draft202012Validator(stand.connector.descriptor.parameters_schema)
        arguments = dict(stand.order.arguments)
        validator.validate(arguments)
        assert not validator.is_valid({**arguments, "a_name_that_nobody_gave": 1})
        required = stand.connector.descriptor.parameters_schema.get("required", [])
        assert isinstance(required, list)
        for name in required:
            assert not validator.is_valid({key: arguments[key] for key in arguments if key != name})
        wrong: list[JsonValue] = [None, [[]], {"a_name_that_nobody_gave": [None]}]
        for name in arguments:
            refused = [one for one in wrong if not validator.is_valid({**arguments, name: one})]
            properties = stand.connector.descriptor.parameters_schema["properties"]
            assert isinstance(properties, dict)
            kind = properties[name]
            is_any = isinstance(kind, dict) and not {"type", "enum", "pattern"} & {*kind}
            assert refused or is_any, f"{name} takes anything"

    async def test_settings_that_it_does_not_have_are_refused(self, stand: Stand) -> None:
        validator = Draft202012Validator(stand.connector.descriptor.settings_schema)
        settings = dict(stand.order.settings)
        validator.validate(settings)
        assert not validator.is_valid({**settings, "a_name_that_nobody_gave": 1})

    async def test_its_quotas_can_be_counted(self, stand: Stand) -> None:
        descriptor = stand.connector.descriptor
        names = [quota.name for quota in descriptor.quotas]
        assert len({*names}) == len(names)
        assert descriptor.effect == "write" or not names, "only writes are counted"
        for quota in descriptor.quotas:
            assert quota.count >= 1
            assert 0 < quota.seconds <= QUOTA_SECONDS_MAX


class Conformance(Declared):
    """What comes of a call. How it fares in runs is in `tests.runtime.connectors.runs`."""

    async def test_a_call_does_what_it_says(self, stand: Stand) -> None:
        result = await stand.perform()
        assert not result.reason, result
        assert stand.effects() == (stand.connector.descriptor.effect == "write")
        assert bool(stand.keys_used) == stand.connector.descriptor.needs_credential

    # --- Keys ------------------------------------------------------------------------------------

    async def test_without_its_key_nothing_is_sent(self, stand: Stand) -> None:
        if not stand.connector.descriptor.needs_credential:
            return
        stand.signer.fail_next(PeerUnavailable("keymanager"))
        with pytest.raises(Unsent):
            await stand.perform()
        stand.signer.fail_next(RunFails(Failure("CREDENTIAL_REFUSED", "USE_DENIED")))
        with pytest.raises(RunFails, match="CREDENTIAL_REFUSED"):
            await stand.perform()
        stand.signer.approval = "approvals/1"
        with pytest.raises(PersonAwaited):
            await stand.perform()
        assert (stand.arrived, stand.effects(), stand.keys_used) == (0, 0, 0)

    async def test_a_service_that_repeats_the_key_does_not_tell_it(
        self, subject: Subject, stand: Stand
    ) -> None:
        await stand.perform()
        heard = stand.service.heard if stand.service else b""
        if not shows_key(heard):
            return
        told = ", ".join(f'"{name}": "{CANARY}"' for name in ("error", "message", "description"))
        stand.fail_next(Says(400, f'{{{told}, "detail": "{CANARY}"}}'.encode()), subject)
        result = await stand.perform()
        assert result.reason
        assert not shows_key(str(result.value).encode())

    # --- What is repeated, and what is looked for ------------------------------------------------

    async def test_what_is_declared_to_be_idempotent_happens_once(
        self, subject: Subject, stand: Stand
    ) -> None:
        if not stand.connector.descriptor.is_idempotent:
            return
        if stand.service:
            stand.fail_next("lost", subject)
            with pytest.raises(PeerUnavailable):
                await stand.perform()
            assert stand.effects() == 1
        first = await stand.perform()
        assert not first.reason
        assert await stand.perform() == first
        assert stand.effects() == 1

    async def test_what_is_declared_to_be_reconcilable_is_found(self, stand: Stand) -> None:
        if not stand.connector.descriptor.is_reconcilable:
            return
        assert await stand.connector.find(stand.order) is None
        performed = await stand.perform()
        assert await stand.connector.find(stand.order) == performed
        other = replace(stand.order, key=f"{stand.order.key}-other", draft=Draft())
        assert await stand.connector.find(other) is None

    @pytest.mark.parametrize("fault", ["failed", Says(503), Says(404), Says(200)], ids=_id)
    async def test_who_cannot_be_asked_has_not_said_no(self, stand: Stand, fault: Fault) -> None:
        if not (stand.connector.descriptor.is_reconcilable and stand.service):
            return
        await stand.perform()
        stand.service.fail_next(fault)
        with pytest.raises(PeerUnavailable):
            await stand.connector.find(stand.order)

    # --- What goes wrong -------------------------------------------------------------------------

    async def test_what_nobody_took_was_not_sent(self, subject: Subject, stand: Stand) -> None:
        if not stand.service:
            return
        stand.leave()
        if subject.waits:
            with pytest.raises(Unsent):
                await stand.perform()
        else:
            assert (await stand.perform()).reason
        assert (stand.arrived, stand.effects()) == (0, 0)

    @pytest.mark.parametrize(
        "fault", ["lost", "failed", Says(500), Says(502), Says(503), Says(408)], ids=_id
    )
    async def test_a_lost_answer_says_nothing(
        self, subject: Subject, stand: Stand, fault: Fault
    ) -> None:
        if not stand.service:
            return
        stand.fail_next(fault, subject)
        if not subject.waits:
            result = await stand.perform()
            assert result.reason or not isinstance(fault, str)
            return
        with pytest.raises(PeerUnavailable) as raised:
            await stand.perform()
        assert not isinstance(raised.value, Unsent)
        sent = subject.lookups + subject.attempts
        assert stand.arrived == sent, "it is not sent again before it is journaled"

    async def test_who_wants_to_be_left_alone_says_how_long(
        self, subject: Subject, stand: Stand
    ) -> None:
        if not stand.service or not subject.waits:
            return
        stand.fail_next(subject.too_often, subject)
        with pytest.raises(Unsent) as raised:
            await stand.perform()
        assert raised.value.retry_seconds == subject.seconds
        assert stand.effects() == 0

    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b'{"error": 7}', b'{"message": "' + b"x" * 9_000 + b'"}'], ids=_id
    )
    async def test_a_refusal_has_a_reason_and_few_words(
        self, subject: Subject, stand: Stand, body: bytes
    ) -> None:
        if not stand.service or subject.tells_anything:
            return
        for status in subject.refusals:
            # What was refused is over: the next one is another call.
            stand.order = replace(stand.order, draft=Draft())
            stand.fail_next(Says(status, body), subject)
            assert (await stand.perform()).reason
        assert stand.effects() == 0

    @pytest.mark.parametrize("body", NONSENSE, ids=_id)
    async def test_an_answer_that_makes_no_sense_is_nothing_to_build_on(
        self, subject: Subject, stand: Stand, body: bytes
    ) -> None:
        if not stand.service:
            return
        stand.fail_next(Says(200, body), subject)
        if not subject.reads_answer:
            check_result(stand.connector, await stand.perform())
            return
        with pytest.raises(PeerUnavailable) as raised:
            await stand.perform()
        assert not isinstance(raised.value, Unsent)

    async def test_no_redirect_takes_a_key_elsewhere(self, subject: Subject, stand: Stand) -> None:
        if not (stand.service and stand.connector.descriptor.needs_credential):
            return
        moved = Says(307, headers=("location: http://elsewhere.test/",))
        stand.fail_next(moved, subject)
        assert (await stand.perform()).reason
        assert stand.arrived == subject.lookups + 1
