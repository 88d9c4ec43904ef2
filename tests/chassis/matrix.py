"""Who may call what, written down a second time: from the side of the callers.

A method that is new is the operator's, and nobody else's until it is written here.
"""

from __future__ import annotations

from collections.abc import Mapping

from chassis.identity import ANYONE, AUDITOR, OPERATOR, VIEWER

# The contract, and its methods.
Calls = Mapping[str, str]

PRICES = "GetBudget GetPriceTable ListPriceTables QuoteGas QuoteRun"
HOLDS = "MeterGas ReleaseGas ReserveGas SettleGas"

# What a service calls of others, by who calls.
OF_SERVICES: Mapping[str, Calls] = {
    "assembler": {
        "gas": PRICES,
        "keymanager": "GetPublicKey GetSecret Sign SignBatch WatchRevocations",
        "knowledge": "GetDocument ListCollections ListDocuments PutDocument",
        "linker": "CountTokens GetLink LinkModel ListModels",
        "runtime": "ListActions",
    },
    "linker": {
        "gas": f"QuoteGas {HOLDS}",
        "keymanager": "WatchRevocations",
        "use": "ReleaseSecret RenewLease RevokeLease",
    },
    "keymanager": {},
    "knowledge": {
        "keymanager": "WatchRevocations",
        "use": "Decrypt Encrypt GenerateDataKey Rewrap",
    },
    "gas": {"keymanager": "WatchRevocations"},
    "runtime": {
        "assembler": "GetBundle",
        "gas": f"{PRICES} {HOLDS} CloseRun DeleteBudget GetReceipt SetBudget",
        "keymanager": "GetPublicKey Sign SignBatch WatchRevocations",
        "knowledge": "GetDocument ListCollections ListDocuments SearchKnowledge",
        "linker": "CountTokens Generate GetLink LinkModel ListModels",
        "policy": "GetApproval",
        "use": "AuthorizeRequest",
    },
}

# What only services call: no person, not even the operator.
NOT_OF_PEOPLE: Calls = {
    "gas": f"CloseRun {HOLDS}",
    "keymanager": "Sign SignBatch WatchRevocations",
    "use": "AuthorizeRequest Decrypt Encrypt GenerateDataKey ReleaseSecret RenewLease Rewrap",
}

OF_VIEWERS: Calls = {
    "assembler": "GetManifestSchema ListBundles ListTemplates",
    "gas": f"{PRICES} GetReceipt",
    "keymanager": "GetPublicKey GetQuote",
    "knowledge": "ListCollections ListDocuments",
    "linker": "GetLink ListLinks ListModels",
    "market": "GetDao GetFeeSchedule PriceRun",
    "runtime": "GetReceipt GetRun ListActions ListRuns",
}

# Beside what viewers may.
OF_AUDITORS: Calls = {
    "assembler": "GetBundle",
    "audit": "ExportAuditLog GetCheckpoint ListAuditRecords ProveConsistency ProveInclusion",
    "gas": "ListEntries ListReports ListTokenDrift ListUsage WatchCharges",
    "keymanager": "GetSecret ListSecrets",
    "market": "ListWebhooks SubscribeUsage",
    "policy": "EvaluateUse GetApproval GetPolicy ListApprovals",
    "runtime": "DiffRuns ListApprovals ListEffects ReplayRun WatchRun",
}

OF_ANYONE: Calls = {"keymanager": "BeginEnrolment Enrol"}


def expected(contract: str, method: str) -> frozenset[str]:
    """Return the roles that may call a method."""

    def has(calls: Calls) -> bool:
        return method in calls.get(contract, "").split()

    if has(OF_ANYONE):
        return frozenset({ANYONE})
    people = {
        OPERATOR: not has(NOT_OF_PEOPLE),
        AUDITOR: has(OF_VIEWERS) or has(OF_AUDITORS),
        VIEWER: has(OF_VIEWERS),
    }
    services = {role: has(calls) for role, calls in OF_SERVICES.items()}
    return frozenset(role for role, may in {**people, **services}.items() if may)


def written() -> set[tuple[str, str]]:
    """Return all contracts and methods that are named here."""
    lists = [*OF_SERVICES.values(), NOT_OF_PEOPLE, OF_VIEWERS, OF_AUDITORS, OF_ANYONE]
    return {
        (contract, method)
        for calls in lists
        for contract, methods in calls.items()
        for method in methods.split()
    }
