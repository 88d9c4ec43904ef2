"""The bench of the TPM: a software TPM as a process, and a release key that approves code."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from threading import Event

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)

from keymanager.platform.port import Platform
from keymanager.platform.sign_release import sign_release

from .bench import Bench, Identity


def why_no_tpm() -> str:
    """Return what is missing; empty if the TPM can be tested."""
    if shutil.which("swtpm") is None:
        return "there is no swtpm: apt-get install swtpm"
    if importlib.util.find_spec("tpm2_pytss") is None:
        return "there is no tpm2-pytss: see docs/security-platform.md"
    return ""


def key_of(signer: str) -> EllipticCurvePrivateKey:
    """Return the release key of a signer."""
    return derive_private_key(int.from_bytes(signer.encode()) + 1, SECP256R1())


class TpmBench:
    """A power cycle clears the PCR; then it is extended by what is said to run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "state").mkdir(parents=True)
        self._identity: Identity | None = None
        self._others: list[TpmBench] = []
        self._start()

    def become(self, identity: Identity) -> Platform:
        """Return the platform as such a process sees it."""
        from keymanager.platform.tpm2 import TpmPlatform  # noqa: PLC0415  # an extra

        if self._identity != identity:
            self._stop()
            self._start()
            self._extend(identity)
        code = hashlib.sha256(bytes(32) + hashlib.sha256(identity.code.encode()).digest()).digest()
        key = key_of(identity.signer)
        release = sign_release(
            code, key, role=identity.role, security_version=identity.security_version
        )
        if identity.debug:
            release = replace(release, key=b"", approvals={})
        return TpmPlatform(self.tcti, release, random_bytes=os.urandom)

    def crash(self) -> None:
        """Kill the TPM with -9, and start it again."""
        self._process.kill()
        self._process.wait()
        self._start()

    def other(self) -> Bench:
        """Return another platform."""
        made = TpmBench(self._folder / "other")
        self._others.append(made)
        return made

    def close(self) -> None:
        """Stop everything."""
        self._stop()
        for bench in self._others:
            bench.close()

    @property
    def tcti(self) -> str:
        """Return how it is reached."""
        return f"swtpm:path={self._folder}/tpm"

    def _start(self) -> None:
        self._identity = None
        socket = self._folder / "tpm"
        socket.unlink(missing_ok=True)
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._folder}/state"]
        command += ["--server", f"type=unixio,path={socket}"]
        command += ["--ctrl", f"type=unixio,path={socket}.ctrl"]
        command += ["--flags", "not-need-init,startup-clear"]
        self._process = subprocess.Popen(command)
        for _ in range(500):
            if socket.exists():
                return
            assert self._process.poll() is None, "swtpm has ended"
            Event().wait(0.01)
        raise AssertionError("swtpm does not start")

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _extend(self, identity: Identity) -> None:
        from tpm2_pytss import ESAPI  # noqa: PLC0415  # an extra
        from tpm2_pytss.constants import ESYS_TR, TPM2_ALG  # noqa: PLC0415
        from tpm2_pytss.types import TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA  # noqa: PLC0415

        digest = TPMU_HA(sha256=hashlib.sha256(identity.code.encode()).digest())
        values = TPML_DIGEST_VALUES([TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=digest)])
        with ESAPI(self.tcti) as tpm:
            tpm.pcr_extend(ESYS_TR.PCR14, values)
        self._identity = identity
