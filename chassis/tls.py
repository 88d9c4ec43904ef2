"""TLS as gRPC speaks it: servers and channels whose certificates change while they run.

A server of gRPC either demands a certificate or never asks for one. So each service listens twice:
for people and clients, who have a token, and for its peers, who have a certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from grpc import aio

from .certificates import Revoked, server_name
from .channel import open_channel
from .membership import Identity, Membership
from .renewing import RenewingChannel

if TYPE_CHECKING:
    from .channel import ClientInterceptors
    from .interceptors import Context


class Member(Protocol):
    """A process among the others: how it reaches them, and how it lets itself be reached."""

    def connect(
        self, address: str, peer: str, *, interceptors: ClientInterceptors = ()
    ) -> AbstractAsyncContextManager[Any]:
        """Return a channel to a peer, such as `gas`, that says who we are with every call."""

    def listen(self, server: aio.Server, listen: str, peer_listen: str) -> tuple[int, int]:
        """Open the ports of a server, for people and for peers; RuntimeError if one is taken."""

    def certificate_of(self, context: Context) -> bytes:
        """Return the certificate of a caller in PEM; empty if it showed none."""

    def revoked(self) -> Revoked:
        """Return what is revoked; raise `RevocationsUnknown` if that is not known yet."""


class Bearer:
    """A member without TLS, which shows a token: for tests of one process."""

    def __init__(self, token: str = "") -> None:
        self._token = token

    def connect(
        self, address: str, peer: str, *, interceptors: ClientInterceptors = ()
    ) -> aio.Channel:
        """Return a channel in the clear, whoever the peer is."""
        del peer
        return open_channel(address, token=self._token, interceptors=interceptors)

    def listen(self, server: aio.Server, listen: str, peer_listen: str) -> tuple[int, int]:
        """Open one port for all."""
        del peer_listen
        port = server.add_insecure_port(listen)
        return port, port

    def certificate_of(self, context: Context) -> bytes:
        """Return that nobody has one."""
        del context
        return b""

    def revoked(self) -> Revoked:
        """Return that nothing is."""
        return Revoked()


class Mutual:
    """A member that proves who it is, and lets every peer prove who he is."""

    def __init__(
        self, membership: Membership, revoked: Callable[[], Revoked] | None = None
    ) -> None:
        self._membership = membership
        self._revoked = revoked or membership.revoked

    def connect(
        self, address: str, peer: str, *, interceptors: ClientInterceptors = ()
    ) -> RenewingChannel:
        """Return a channel that always shows the present certificate."""

        def open_now(identity: Identity) -> aio.Channel:
            credentials = grpc.ssl_channel_credentials(
                identity.authority, identity.private_key, identity.chain
            )
            return open_channel(
                address,
                credentials=credentials,
                authority=server_name(peer),
                interceptors=interceptors,
            )

        return RenewingChannel(lambda: self._membership.identity, open_now)

    def listen(self, server: aio.Server, listen: str, peer_listen: str) -> tuple[int, int]:
        """Open the ports; each handshake takes the certificate of its time."""
        port = server.add_secure_port(listen, self._credentials(demands_certificate=False))
        peer_port = server.add_secure_port(peer_listen, self._credentials(demands_certificate=True))
        return port, peer_port

    def certificate_of(self, context: Context) -> bytes:
        """Return what the handshake has verified."""
        found: Any = context.auth_context().get("x509_pem_cert")
        return bytes(found[0]) if found else b""

    def revoked(self) -> Revoked:
        """Return what is revoked as far as this process knows; or raise `RevocationsUnknown`."""
        return self._revoked()

    def _credentials(self, *, demands_certificate: bool) -> grpc.ServerCredentials:
        shown = self._membership.identity

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            if shown is self._membership.identity:
                return None
            shown = self._membership.identity
            return _configuration(shown)

        # The stubs do not know that None means no change.
        fetch_any: Callable[[], Any] = fetch
        return grpc.dynamic_ssl_server_credentials(
            _configuration(shown), fetch_any, demands_certificate
        )


def connect_with_token(
    address: str, peer: str, *, token: str, authority: bytes, interceptors: ClientInterceptors = ()
) -> aio.Channel:
    """Return a channel of a person: a token, and the certificate that all services hang on."""
    return open_channel(
        address,
        token=token,
        credentials=grpc.ssl_channel_credentials(authority),
        authority=server_name(peer),
        interceptors=interceptors,
    )


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    pairs = [(identity.private_key, identity.chain)]
    return grpc.ssl_server_certificate_configuration(pairs, identity.authority)
