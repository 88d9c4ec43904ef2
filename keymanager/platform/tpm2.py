"""The platform over a TPM 2.0, with tpm2-pytss: an optional extra (docs/security-platform.md).

PCR 14 holds what the machine has measured before this process runs; whoever starts it (root, or
the boot loader) extends it, never the process itself. CODE is PolicyPCR. SIGNER is PolicyAuthorize:
a release key approves a value of the PCR for each security version up to its own, so that older
code finds no approval for what newer code sealed. The counter is an NV counter, a quote is made by
a restricted ECDSA key. What is sealed in the TPM is a key; it encrypts the content here.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_CAP,
    TPM2_HC,
    TPM2_NT,
    TPM2_PT_VENDOR,
    TPM2_SE,
    TPMA_NV,
    TPMA_OBJECT,
    TPMA_SESSION,
)
from tpm2_pytss.TSS2_Exception import TSS2_Exception
from tpm2_pytss.types import (
    TPM2B_AUTH,
    TPM2B_DIGEST,
    TPM2B_NONCE,
    TPM2B_NV_PUBLIC,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPML_PCR_SELECTION,
    TPMS_NV_PUBLIC,
    TPMS_SENSITIVE_CREATE,
    TPMT_SIGNATURE,
    TPMT_SYM_DEF,
    TPMT_TK_VERIFIED,
)

from platformd import protocol

from ..sealing import RandomBytes
from .port import (
    CodeUnsigned,
    Measurement,
    PlatformUnavailable,
    Quote,
    SealPolicy,
    Unsealable,
    UnsealProblem,
)
from .tpm_release import TpmRelease, authorized, policy_of_code, read_tpm_release, reference

PCR = 14
PLATFORM = "tpm2"
NONCE_BYTES = 12
# The first of 65,536 NV indices, one for each role by its hash; what is in `MARKS` says that the
# counter of the same number was incremented since it was made.
COUNTERS, MARKS = 0x01A00000, 0x01A10000

_MAGIC = b"avm-tpm2"
_POLICIES = {SealPolicy.CODE: 1, SealPolicy.SIGNER: 2}
# Magic, policy, security version, identity, lengths of the public and the private part.
_HEADER = struct.Struct(">8sBQ32sHH")
# NODA: there is no password to guess, and a TPM that lost its power too often would lock us out.
_STORAGE = (
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.NODA
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
    | TPMA_OBJECT.USERWITHAUTH
    | TPMA_OBJECT.RESTRICTED
)
_MARK = TPMA_NV.OWNERREAD | TPMA_NV.OWNERWRITE | TPMA_NV.NO_DA
_COUNTER = _MARK | (TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT)


def open_tpm(tcti: str, *, release_file: Path | None, random_bytes: RandomBytes) -> TpmPlatform:
    """Return the platform; without a release the role is `keymanager` and the code unsigned."""
    unsigned = TpmRelease("keymanager", 0, b"", {})
    release = read_tpm_release(release_file) if release_file is not None else unsigned
    return TpmPlatform(tcti, release, random_bytes=random_bytes)


class TpmPlatform:
    """A TPM, opened for each operation: it is asked at starts and at changes, not for each use."""

    def __init__(self, tcti: str, release: TpmRelease, *, random_bytes: RandomBytes) -> None:
        self._tcti = tcti
        self._release = release
        self._random_bytes = random_bytes

    def measure(self) -> Measurement:
        """Return what the PCR says is running, and what the release says about it."""
        with self._open() as tpm:
            return self._measure(tpm)

    def seal(self, content: bytes, policy: SealPolicy, label: str) -> bytes:
        """Encrypt under a fresh key, which the TPM seals."""
        key, nonce = self._random_bytes(32), self._random_bytes(NONCE_BYTES)
        with self._open() as tpm:
            own = self._measure(tpm)
            digest = policy_of_code(own.code)
            if policy is SealPolicy.SIGNER:
                version = own.security_version
                digest = authorized(self._signer_name(tpm), self._reference(version))
            public = TPM2B_PUBLIC.parse(
                "keyedhash",
                TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.NODA,
                authPolicy=digest,
            )
            sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=key))
            parent = _parent(tpm)
            with _session(tpm, parent, TPM2_SE.HMAC) as session:
                private, made, *_ = tpm.create(parent, sensitive, public, session2=session)
        parts = (made.marshal(), private.marshal())
        identity = own.code if policy is SealPolicy.CODE else own.signer
        header = _HEADER.pack(
            _MAGIC, _POLICIES[policy], own.security_version, identity, *map(len, parts)
        )
        bound = header + b"".join(parts)
        return bound + nonce + AESGCMSIV(key).encrypt(nonce, content, bound + label.encode())

    def unseal(self, sealed: bytes, label: str) -> bytes:
        """Return the content; raise Unsealable."""
        if len(sealed) < _HEADER.size:
            raise Unsealable(UnsealProblem.DAMAGED)
        magic, number, version, identity, *sizes = _HEADER.unpack_from(sealed)
        policies = {number: policy for policy, number in _POLICIES.items()}
        end = _HEADER.size + sum(sizes)
        if magic != _MAGIC or number not in policies or len(sealed) < end + NONCE_BYTES:
            raise Unsealable(UnsealProblem.DAMAGED)
        public = sealed[_HEADER.size : _HEADER.size + sizes[0]]
        private = sealed[_HEADER.size + sizes[0] : end]
        with self._open() as tpm:
            self._check(policies[number], version, identity, self._measure(tpm))
            try:
                key = self._unseal_key(tpm, public, private, policies[number], version)
                return AESGCMSIV(key).decrypt(
                    sealed[end : end + NONCE_BYTES],
                    sealed[end + NONCE_BYTES :],
                    sealed[:end] + label.encode(),
                )
            except (TSS2_Exception, InvalidTag, ValueError) as error:
                raise Unsealable(UnsealProblem.DAMAGED) from error

    def quote(self, report_data: bytes) -> Quote:
        """Let the TPM sign its PCR together with everything that the quote says."""
        assert len(report_data) == protocol.REPORT_BYTES, "report data has 64 bytes"
        with self._open() as tpm:
            handle, public, *_ = tpm.create_primary(
                TPM2B_SENSITIVE_CREATE(),
                TPM2B_PUBLIC.parse("ecc256:ecdsa-sha256:null", _STORAGE | TPMA_OBJECT.SIGN_ENCRYPT),
                ESYS_TR.ENDORSEMENT,
            )
            point = public.publicArea.unique.ecc
            key = b"\x04" + bytes(point.x).rjust(32, b"\0") + bytes(point.y).rjust(32, b"\0")
            hardware = not _is_software(tpm)
            quote = Quote(PLATFORM, self._measure(tpm), report_data, hardware, b"", key)
            content = protocol.quoted(protocol.decode(quote.to_bytes()))
            attested, signed = tpm.quote(
                handle, TPML_PCR_SELECTION.parse(f"sha256:{PCR}"), hashlib.sha256(content).digest()
            )
            both = signed.signature.ecdsa
            signature = encode_dss_signature(
                int.from_bytes(bytes(both.signatureR)), int.from_bytes(bytes(both.signatureS))
            )
        statement = bytes(attested)
        return replace(quote, signature=struct.pack(">H", len(statement)) + statement + signature)

    def has_counted(self) -> bool:
        """Tell whether the counter was incremented since it was made."""
        with self._open() as tpm:
            return _find(tpm, MARKS + self._number) is not None

    def read_counter(self) -> int:
        """Return the counter of this role; a new one starts above all that the TPM ever had."""
        with self._open() as tpm:
            return _read_counter(tpm, self._counter(tpm))

    def increment_counter(self) -> int:
        """Return one more than before; the TPM has written it down."""
        with self._open() as tpm:
            counter = self._counter(tpm)
            if _find(tpm, MARKS + self._number) is None:
                # First the mark: a counter that moved without one would look like a new one.
                _define(tpm, MARKS + self._number, _MARK, size=1)
            tpm.nv_increment(counter, auth_handle=ESYS_TR.OWNER)
            return _read_counter(tpm, counter)

    @contextmanager
    def _open(self) -> Iterator[ESAPI]:
        try:
            with ESAPI(self._tcti) as tpm:
                try:
                    yield tpm
                finally:
                    _flush(tpm)
        except (TSS2_Exception, RuntimeError) as error:
            raise PlatformUnavailable(
                f"the TPM at {self._tcti} says: {error}; is this user in the group tss?"
            ) from error

    def _measure(self, tpm: ESAPI) -> Measurement:
        _, _, values = tpm.pcr_read(f"sha256:{PCR}")
        own = self._release
        return Measurement(
            role=own.role,
            code=bytes(values[0]),
            signer=own.signer,
            security_version=own.security_version,
            debug=not own.key,
        )

    def _check(self, policy: SealPolicy, version: int, identity: bytes, own: Measurement) -> None:
        """Say in words what the TPM would refuse without a reason."""
        if policy is SealPolicy.CODE and identity != own.code:
            raise Unsealable(UnsealProblem.OTHER_CODE)
        if policy is SealPolicy.SIGNER and identity != own.signer:
            raise Unsealable(UnsealProblem.OTHER_SIGNER)
        if version > own.security_version:
            raise Unsealable(UnsealProblem.NEWER_SECURITY_VERSION)

    def _unseal_key(
        self, tpm: ESAPI, public: bytes, private: bytes, policy: SealPolicy, version: int
    ) -> bytes:
        parent = _parent(tpm)
        loaded = tpm.load(
            parent, TPM2B_PRIVATE.unmarshal(private)[0], TPM2B_PUBLIC.unmarshal(public)[0]
        )
        with _session(tpm, parent, TPM2_SE.POLICY) as session:
            tpm.policy_pcr(session, TPM2B_DIGEST(), TPML_PCR_SELECTION.parse(f"sha256:{PCR}"))
            if policy is SealPolicy.SIGNER:
                self._authorize(tpm, session, version)
            return bytes(tpm.unseal(loaded, session1=session))

    def _authorize(self, tpm: ESAPI, session: ESYS_TR, version: int) -> None:
        """Replace the policy of the session by the approval of the release key."""
        if version not in self._release.approvals:
            raise ValueError("nobody has approved this code for that version")
        r, s = decode_dss_signature(self._release.approvals[version])
        signature = TPMT_SIGNATURE(sigAlg=TPM2_ALG.ECDSA)
        signature.signature.ecdsa.hash = TPM2_ALG.SHA256
        signature.signature.ecdsa.signatureR = r.to_bytes(32)
        signature.signature.ecdsa.signatureS = s.to_bytes(32)
        approved = tpm.policy_get_digest(session)
        bound = self._reference(version)
        digest = hashlib.sha256(bytes(approved) + bound).digest()
        key = self._load_signer(tpm)
        ticket: TPMT_TK_VERIFIED = tpm.verify_signature(key, TPM2B_DIGEST(digest), signature)
        tpm.policy_authorize(
            session, approved, tpm.tr_get_name(key), ticket, policy_ref=TPM2B_NONCE(bound)
        )

    def _signer_name(self, tpm: ESAPI) -> bytes:
        return bytes(tpm.tr_get_name(self._load_signer(tpm)))

    def _load_signer(self, tpm: ESAPI) -> ESYS_TR:
        if not self._release.key:
            raise CodeUnsigned("nobody has signed this code: set KEYMANAGER_TPM_RELEASE_FILE")
        public = TPM2B_PUBLIC.parse(
            "ecc256:ecdsa-sha256", TPMA_OBJECT.SIGN_ENCRYPT | TPMA_OBJECT.USERWITHAUTH
        )
        public.publicArea.unique.ecc.x = self._release.key[1:33]
        public.publicArea.unique.ecc.y = self._release.key[33:]
        return tpm.load_external(public, hierarchy=ESYS_TR.OWNER)

    def _reference(self, version: int) -> bytes:
        return reference(self._release.role, version)

    def _counter(self, tpm: ESAPI) -> ESYS_TR:
        """Return the NV counter of this role, made when it is first asked for."""
        found = _find(tpm, COUNTERS + self._number)
        if found is None:
            found = _define(tpm, COUNTERS + self._number, _COUNTER, size=8)
        public, _ = tpm.nv_read_public(found)
        if not public.nvPublic.attributes & TPMA_NV.WRITTEN:
            # It cannot be read before. It then is above all that the TPM ever counted.
            tpm.nv_increment(found, auth_handle=ESYS_TR.OWNER)
        return found

    @property
    def _number(self) -> int:
        return int.from_bytes(hashlib.sha256(self._release.role.encode()).digest()[:2])


def _find(tpm: ESAPI, index: int) -> ESYS_TR | None:
    try:
        return tpm.tr_from_tpmpublic(index)
    except TSS2_Exception:
        return None


def _define(tpm: ESAPI, index: int, attributes: TPMA_NV, *, size: int) -> ESYS_TR:
    public = TPMS_NV_PUBLIC(
        nvIndex=index, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=size
    )
    return tpm.nv_define_space(TPM2B_AUTH(), TPM2B_NV_PUBLIC(public))


def _parent(tpm: ESAPI) -> ESYS_TR:
    """Return the storage key, which the TPM derives from its seed: nothing of it is stored."""
    template = TPM2B_PUBLIC.parse("ecc256:aes128cfb", _STORAGE | TPMA_OBJECT.DECRYPT)
    handle, *_ = tpm.create_primary(TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.OWNER)
    return handle


@contextmanager
def _session(tpm: ESAPI, parent: ESYS_TR, kind: TPM2_SE) -> Iterator[ESYS_TR]:
    """Return a session that is salted by the parent, so that no key crosses the bus in clear."""
    session = tpm.start_auth_session(
        tpm_key=parent,
        bind=ESYS_TR.NONE,
        session_type=kind,
        symmetric=TPMT_SYM_DEF.parse("aes128cfb"),
        auth_hash=TPM2_ALG.SHA256,
    )
    attributes = TPMA_SESSION.CONTINUESESSION | TPMA_SESSION.ENCRYPT
    attributes |= TPMA_SESSION.DECRYPT if kind is TPM2_SE.HMAC else TPMA_SESSION(0)
    tpm.trsess_set_attributes(session, attributes)
    try:
        yield session
    finally:
        tpm.flush_context(session)


def _read_counter(tpm: ESAPI, counter: ESYS_TR) -> int:
    return int.from_bytes(bytes(tpm.nv_read(counter, 8, auth_handle=ESYS_TR.OWNER)))


def _is_software(tpm: ESAPI) -> bool:
    """Tell whether the maker of the TPM calls it one of software."""
    _, data = tpm.get_capability(TPM2_CAP.TPM_PROPERTIES, TPM2_PT_VENDOR.STRING_1, 4)
    properties = data.data.tpmProperties
    words = b"".join(int(properties[at].value).to_bytes(4) for at in range(len(properties)))
    return words.replace(b"\0", b" ").startswith(b"SW")


def _flush(tpm: ESAPI) -> None:
    """Give back what the TPM has little room for; a resource manager would do the same."""
    _, data = tpm.get_capability(TPM2_CAP.HANDLES, TPM2_HC.TRANSIENT_FIRST, 16)
    for handle in list(data.data.handles):
        tpm.flush_context(tpm.tr_from_tpmpublic(handle))
