"""The ports of the runtime over gRPC: deadlines, and remote errors as our own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager

from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2, assembler_pb2_grpc
from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc, metering_pb2, metering_pb2_grpc
from actionvm.keymanager.v1 import keymanager_pb2, keymanager_pb2_grpc
from actionvm.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from actionvm.linker.v1 import linker_pb2, linker_pb2_grpc
from chassis.channel import RemoteError, remote_error, translated
from chassis.coalescer import Coalescer
from chassis.errors import InvalidField, PeerUnavailable, ServiceError

from ..bundles import BUNDLE_KEY, SealedBundle
from ..conversation import ActionChoice, Message, Role
from ..errors import BundleNotFound
from ..facts import ActionCall, Callers, Charge, Failure, Passage, Receipt, Signature, Usage
from ..jsontext import write_json
from ..ports import AnswerUnfit, Generation, Hold, PersonAwaited, Prompt, RunFails
from ..program import Budget, ProgramAction

RECEIPT_KEY = "keys/receipts"
# A model may have to be loaded first.
LINK_SECONDS_MAX = 60.0
LINKS_MAX = 1_000
# Of one call of `MeterGas`; the contract takes twice as many.
OPERATIONS_MAX = 128

_METER = action_pb2.Usage.Meter
_ONE_CALL = action_pb2.Usage(meter=_METER.METER_CONNECTOR_CALLS, amount=1)
_PERIODS = {
    "total": gas_pb2.Budget.PERIOD_TOTAL,
    "hour": gas_pb2.Budget.PERIOD_HOUR,
    "day": gas_pb2.Budget.PERIOD_DAY,
    "month": gas_pb2.Budget.PERIOD_MONTH,
}
_ROLES = {
    Role.SYSTEM: linker_pb2.Message.ROLE_SYSTEM,
    Role.USER: linker_pb2.Message.ROLE_USER,
    Role.ASSISTANT: linker_pb2.Message.ROLE_ASSISTANT,
    Role.ACTION: linker_pb2.Message.ROLE_ACTION,
}
_CHOICES = {
    ActionChoice.AUTO: linker_pb2.ACTION_CHOICE_AUTO,
    ActionChoice.REQUIRED: linker_pb2.ACTION_CHOICE_REQUIRED,
    ActionChoice.NONE: linker_pb2.ACTION_CHOICE_NONE,
}
_EFFECTS = {"read": action_pb2.Action.EFFECT_READ, "write": action_pb2.Action.EFFECT_WRITE}

Known = Mapping[str, Callable[[RemoteError], ServiceError]]


@contextmanager
def _within_run(peer: str, reason: str, known: Known | None = None) -> Iterator[None]:
    """Turn what a peer refuses during a run into the failure of the run, `reason` by default."""
    try:
        with translated(peer, known):
            yield
    except InvalidField as error:
        raise RunFails(Failure(reason, f"{peer} refused the request: {error}")) from error
    except aio.AioRpcError as error:
        remote = remote_error(error)
        refusal = remote.reason or remote.code.name
        message = f"{peer} refused with {refusal}: {remote.message}"
        raise RunFails(Failure(_REASONS.get(remote.reason, reason), message)) from error


# Whoever refuses with these, they say the same of the run.
_REASONS = {"BUDGET_EXCEEDED": "BUDGET_EXCEEDED", "GAS_REFUSED": "GAS_FAILED"}


@contextmanager
def _until_answered(peer: str, known: Known | None = None) -> Iterator[None]:
    """Turn whatever a peer refuses into its absence: where a run cannot do without an answer."""
    try:
        with translated(peer, known):
            yield
    except (InvalidField, aio.AioRpcError) as error:
        raise PeerUnavailable(peer) from error


class AssemblerClient:
    """`Bundles` over a channel to the assembler."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = assembler_pb2_grpc.AssemblerServiceStub(channel)

    async def get(self, name: str) -> SealedBundle:
        """Return a bundle, unchecked; see `Bundles`."""
        with _until_answered("assembler", {"BUNDLE_NOT_FOUND": lambda _: BundleNotFound(name)}):
            response = await self._stub.GetBundle(assembler_pb2.GetBundleRequest(name=name))
        return sealed_bundle(response.bundle)


def sealed_bundle(bundle: action_pb2.Bundle) -> SealedBundle:
    """Return a bundle of the contract, unchecked."""
    return SealedBundle(
        name=bundle.name,
        sha256=bundle.digest.sha256,
        size_bytes=bundle.digest.size_bytes,
        payload=bundle.payload,
        signature=_signature(bundle.signature),
    )


class LinkerClient:
    """`Model` over a channel to the linker. Links are made when first needed, and kept."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = linker_pb2_grpc.LinkerServiceStub(channel)
        self._links: dict[bytes, str] = {}

    async def generate(self, prompt: Prompt) -> AsyncGenerator[str | Generation, None]:
        """Yield text, then the whole answer; a link that the linker has lost is made again."""
        try:
            async with aclosing(self._generate(prompt, await self._link(prompt))) as answer:
                async for part in answer:
                    yield part
        except _LinkNotFound:
            self._links.clear()
            async with aclosing(self._generate(prompt, await self._link(prompt))) as answer:
                async for part in answer:
                    yield part

    async def _link(self, prompt: Prompt) -> str:
        config = linker_pb2.ModelConfig(
            model=prompt.model.name,
            credential=prompt.model.credential,
            needs_actions=prompt.agent_acts,
            context_tokens_min=prompt.model.context_tokens,
            fallbacks=[
                linker_pb2.Fallback(model=fallback.name, credential=fallback.credential)
                for fallback in prompt.model.fallbacks
            ],
            cache_seconds=prompt.model.cache_seconds,
            needs_answer_schema=bool(prompt.answer_schema),
        )
        request = linker_pb2.LinkModelRequest(config=config, account=prompt.account)
        key = request.SerializeToString(deterministic=True)
        if key not in self._links:
            with _within_run("linker", "MODEL_FAILED"):
                response = await self._stub.LinkModel(request, timeout=LINK_SECONDS_MAX)
            if len(self._links) >= LINKS_MAX:
                self._links.clear()
            self._links[key] = response.link.name
        return self._links[key]

    async def _generate(self, prompt: Prompt, link: str) -> AsyncGenerator[str | Generation, None]:
        known: Known = {
            "LINK_NOT_FOUND": lambda _: _LinkNotFound("linker"),
            "QUEUE_FULL": lambda _: PeerUnavailable("linker"),
            "RATE_LIMITED": lambda _: PeerUnavailable("linker"),
        }
        if prompt.answer_schema:
            known = {**known, "SCHEMA_UNSUPPORTED": lambda _: AnswerUnfit()}
        call = self._stub.Generate(_generate_request(prompt, link))
        try:
            with _within_run("linker", "MODEL_FAILED", known):
                async for response in call:
                    if response.WhichOneof("event") == "finished":
                        yield _generation(response.finished)
                        return
                    if response.text_delta:
                        yield response.text_delta
        finally:
            call.cancel()


class _LinkNotFound(PeerUnavailable):
    """The linker has forgotten a link; for anybody else it is a linker to be asked again."""


def _generate_request(prompt: Prompt, link: str) -> linker_pb2.GenerateRequest:
    return linker_pb2.GenerateRequest(
        request_id=prompt.request_id,
        link=link,
        account=prompt.account,
        run=prompt.run,
        callers=_callers_to_proto(prompt.callers),
        messages=[_message_to_proto(message) for message in prompt.messages],
        actions=[_action_to_proto(action) for action in prompt.actions],
        action_choice=_CHOICES[prompt.choice],
        answer_schema=prompt.answer_schema,
        tokens_max=prompt.model.tokens_max,
        temperature=prompt.model.temperature,
        top_p=prompt.model.top_p,
        seed=prompt.model.seed,
    )


def _callers_to_proto(callers: Callers) -> list[action_pb2.Caller]:
    return [action_pb2.Caller(account=caller.account, run=caller.run) for caller in callers]


def _message_to_proto(message: Message) -> linker_pb2.Message:
    calls = [
        action_pb2.ActionCall(id=call.id, action=call.action, arguments=call.arguments)
        for call in message.calls
    ]
    return linker_pb2.Message(
        role=_ROLES[message.role], text=message.text, calls=calls, call_id=message.call_id
    )


def _action_to_proto(action: ProgramAction) -> action_pb2.Action:
    return action_pb2.Action(
        name=action.name,
        description=action.description,
        parameters_schema=write_json(action.parameters_schema),
        effect=_EFFECTS[action.effect],
    )


def _generation(finished: linker_pb2.Finished) -> Generation:
    return Generation(
        text=finished.text,
        calls=tuple(ActionCall(call.id, call.action, call.arguments) for call in finished.calls),
        usages=_usages(finished.usages),
        gas=finished.gas,
    )


class KnowledgeClient:
    """`Knowledge` over a channel to knowledge storage."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = knowledge_pb2_grpc.KnowledgeServiceStub(channel)

    async def search(
        self, collections: Sequence[str], query: str, passages_max: int
    ) -> tuple[Passage, ...]:
        """Return the passages that fit best; see `Knowledge`."""
        request = knowledge_pb2.SearchKnowledgeRequest(
            collections=collections, query=query, passages_max=passages_max
        )
        with _within_run("knowledge", "KNOWLEDGE_FAILED"):
            response = await self._stub.SearchKnowledge(request)
        return tuple(Passage(found.document, found.text) for found in response.passages)


class GasClient:
    """`GasMeter` over a channel to the gas system. What many ask for at once goes as one call."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = gas_pb2_grpc.GasServiceStub(channel)
        meter = metering_pb2_grpc.MeteringServiceStub(channel).MeterGas
        self._meter = Coalescer[metering_pb2.MeterOperation, metering_pb2.MeterOutcome](
            lambda operations: meter(metering_pb2.MeterGasRequest(operations=operations)),
            size_max=OPERATIONS_MAX,
        )

    async def declare_budget(self, account: str, budget: Budget) -> None:
        """Set the limit of the manifest; see `GasMeter`."""
        limit = gas_pb2.Budget(
            account=account,
            origin=gas_pb2.Budget.ORIGIN_MANIFEST,
            period=_PERIODS[budget.period],
            gas_limit=budget.gas,
            time_zone=budget.time_zone,
        )
        await self._limit(limit)

    async def limit_run(self, *, run: str, account: str, gas: int) -> None:
        """Set the limit of a run; see `GasMeter`."""
        limit = gas_pb2.Budget(
            account=account,
            origin=gas_pb2.Budget.ORIGIN_MANIFEST,
            id=run.removeprefix("runs/"),
            run=run,
            period=gas_pb2.Budget.PERIOD_TOTAL,
            gas_limit=gas,
        )
        await self._limit(limit)

    async def _limit(self, limit: gas_pb2.Budget) -> None:
        with _within_run("gas", "GAS_FAILED"):
            await self._stub.SetBudget(gas_pb2.SetBudgetRequest(budget=limit))

    async def quote(self, *, item: str) -> int:
        """Return the gas of one call of a connector; see `GasMeter`."""
        with _within_run("gas", "GAS_FAILED"):
            quoted = await self._stub.QuoteGas(
                gas_pb2.QuoteGasRequest(item=item, usages=[_ONE_CALL])
            )
        return quoted.gas

    async def reserve(
        self, *, request_id: str, account: str, run: str, callers: Callers, item: str
    ) -> Hold:
        """Hold gas for one call of a connector; see `GasMeter`."""
        request = gas_pb2.ReserveGasRequest(
            request_id=request_id,
            account=account,
            run=run,
            callers=_callers_to_proto(callers),
            item=item,
            usages=[_ONE_CALL],
        )
        with _within_run("gas", "GAS_FAILED"):
            outcome = await self._meter.call(metering_pb2.MeterOperation(reserve=request))
        return Hold(outcome.hold.name, outcome.hold.gas)

    async def settle(self, hold: Hold) -> int:
        """Charge one call of a connector; see `GasMeter`."""
        request = gas_pb2.SettleGasRequest(hold=hold.name, usages=[_ONE_CALL])
        with _within_run("gas", "GAS_FAILED"):
            outcome = await self._meter.call(metering_pb2.MeterOperation(settle=request))
        return outcome.hold.charged_gas

    async def close(self, *, run: str, account: str) -> Receipt:
        """End the spending of a run; see `GasMeter`."""
        request = gas_pb2.CloseRunRequest(run=run, account=account)
        with _until_answered("gas"):
            response = await self._stub.CloseRun(request)
        return _receipt(response.receipt)


def _receipt(receipt: action_pb2.Receipt) -> Receipt:
    return Receipt(
        run=receipt.run,
        account=receipt.account,
        charges=tuple(
            Charge(
                line=charge.line,
                item=charge.item,
                usages=_usages(charge.usages),
                gas=charge.gas,
                price_version=charge.price_version,
            )
            for charge in receipt.charges
        ),
        total_gas=receipt.total_gas,
        sha256=receipt.digest.sha256,
        size_bytes=receipt.digest.size_bytes,
    )


def _usages(usages: Sequence[action_pb2.Usage]) -> tuple[Usage, ...]:
    return tuple(
        Usage(_METER.Name(usage.meter).removeprefix("METER_").lower(), usage.amount)
        for usage in usages
    )


class KeymanagerClient:
    """`Signer` over a channel to the key manager."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = keymanager_pb2_grpc.KeymanagerServiceStub(channel)

    async def bundle_key(self) -> bytes:
        """Return the public key of bundles; a key manager that cannot tell is not available."""
        request = keymanager_pb2.GetPublicKeyRequest(key=BUNDLE_KEY)
        with _until_answered("keymanager"):
            response = await self._stub.GetPublicKey(request)
        return response.public_key

    async def sign_receipt(self, sha256: str) -> Signature:
        """Sign a receipt; a key manager that cannot is not available: a run ends with a bill."""
        purpose = keymanager_pb2.PURPOSE_RECEIPT
        request = keymanager_pb2.SignRequest(
            key=RECEIPT_KEY, purpose=purpose, message=sha256.encode()
        )
        with _until_answered("keymanager"):
            response = await self._stub.Sign(request)
        return _signature(response.signature)

    async def sign_request(self, credential: str, message: bytes, *, account: str) -> Signature:
        """Sign with a secret that an agent names; see `Signer`."""
        purpose = keymanager_pb2.PURPOSE_REQUEST
        request = keymanager_pb2.SignRequest(
            key=credential, purpose=purpose, message=message, account=account
        )
        known: Known = {
            "APPROVAL_REQUIRED": lambda remote: PersonAwaited(
                f"a person who decides {remote.metadata.get('approval', '')}",
                remote.metadata.get("approval", ""),
                remote.metadata.get("rule", ""),
            )
        }
        with _within_run("keymanager", "CREDENTIAL_REFUSED", known):
            response = await self._stub.Sign(request)
        return _signature(response.signature)


def _signature(signature: action_pb2.Signature) -> Signature:
    return Signature(
        key=signature.key,
        algorithm=signature.algorithm,
        public_key=signature.public_key,
        value=signature.value,
    )
