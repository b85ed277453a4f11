"""The connection to the collector: plain text on this machine alone, TLS with our certificate elsewhere."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from sonde_agent.uplink.backoff import Interrupted, Renewed
from sonde_agent.uplink.handshake import advice
from sonde_agent.uplink.send_errors import NEW_CONNECTION, Action
from sonde_proto.toml_config import ConfigError

KEEPALIVE_S = 10.0  # a ping after so much silence; as long again for its answer: half-open is noticed in 20 s
_MAX_MESSAGE_BYTES = 8 << 20  # an assignment of 10 000 tasks is 2 MB


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. `ca`: who signs the collector's certificate; `cert` and `key`: ours."""

    ca: Path
    cert: Path
    key: Path


@dataclass(slots=True)
class _Shared:
    channel: grpc.aio.Channel
    users: int = 0
    lasting: set[asyncio.Timeout] = field(default_factory=set)


class Channels:
    """One connection for all calls to the collector, made anew (with the files read again) once it failed."""

    def __init__(
        self, address: str, *, tls: TlsFiles | None = None, proxy: str = "", keepalive_s: float = KEEPALIVE_S
    ) -> None:
        """Check the settings; nothing is connected.

        Args:
            address: "host:port", "[v6]:port" or "unix:/path".
            tls: needed for every address but loopback and unix:.
            proxy: "http://host:port" of a proxy that knows CONNECT; empty = none.
            keepalive_s: silence before a ping, and how long its answer may take.

        Raises:
            ConfigError: the address can't be used so; says why.
        """
        check(address, tls, proxy)
        self._address = address
        self._tls = tls
        self._options: list[tuple[str, str | int]] = [
            ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
            ("grpc.keepalive_timeout_ms", int(keepalive_s * 1000)),
            (
                "grpc.http2.ping_timeout_ms",
                int(keepalive_s * 1000),
            ),  # else gRPC core waits 60 s for the answer
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            (
                "grpc.use_local_subchannel_pool",
                1,
            ),  # a new channel is a new connection, with no back-off of its own
            ("grpc.enable_http_proxy", 1 if proxy else 0),  # by our config alone, not by the environment
        ]
        if proxy:
            self._options.append(("grpc.http_proxy", proxy))
        self._current: _Shared | None = None

    @asynccontextmanager
    async def use(self, *, lasting: bool = False) -> AsyncIterator[grpc.aio.Channel]:
        """Borrow the connection. Leaving by an `Interrupted` that blames it gives the next user a new one.

        Args:
            lasting: for calls without an end: these are ended when there is a new certificate.

        Raises:
            Interrupted: a TLS file can't be read now.
            Renewed: there is a new certificate.
        """
        shared = self._current = self._current or _Shared(self._open())
        shared.users += 1
        try:
            async with self._until_renewed(shared, lasting=lasting):
                yield shared.channel
        except Interrupted as error:
            if error.action in NEW_CONNECTION and self._current is shared:
                self._current = None
            if advised := advice(str(error), tls=self._tls is not None):
                told = f"{error}; {advised}"
                raise Interrupted(error.action, told, progressed=error.progressed) from error
            raise
        finally:
            shared.users -= 1
            if not shared.users:
                if self._current is shared:
                    self._current = None
                await shared.channel.close()

    def renewed(self) -> None:
        """Say that the TLS files are others now: short calls end by themselves, lasting ones begin anew."""
        shared, self._current = self._current, None
        if shared is not None:
            for scope in shared.lasting:
                scope.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def _until_renewed(self, shared: _Shared, *, lasting: bool) -> AsyncIterator[None]:
        if not lasting:
            yield
            return
        try:
            async with asyncio.timeout(None) as scope:
                shared.lasting.add(scope)
                try:
                    yield
                finally:
                    shared.lasting.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
            raise Renewed from None

    def _open(self) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self._address, options=self._options)
        try:
            credentials = grpc.ssl_channel_credentials(
                self._tls.ca.read_bytes(), self._tls.key.read_bytes(), self._tls.cert.read_bytes()
            )
        except OSError as error:
            raise Interrupted(Action.RE_ENROL, f"{error.filename}: {error.strerror}") from error
        return grpc.aio.secure_channel(self._address, credentials, options=self._options)


def check(address: str, tls: TlsFiles | None, proxy: str) -> None:
    """Refuse an address that would send results in plain text over a network, or that is no address.

    Raises:
        ConfigError: says what is wrong and what to write instead.
    """
    mistakes = []
    if address.startswith("unix:"):
        if not address.removeprefix("unix:").startswith("/"):
            mistakes.append(
                f'collector: "{address}" must name an absolute path, as in "unix:/run/sonde/grpc"'
            )
    else:
        parts = urlsplit(f"//{address}")
        try:
            port = parts.port
        except ValueError:
            port = None
        if not parts.hostname or not port or parts.path or parts.username:
            mistakes.append(f'collector: "{address}" must be "host:port", "[v6]:port" or "unix:/path"')
        elif tls is None and not _is_loopback(parts.hostname):
            mistakes.append(
                f'collector: "{address}" is not on this machine, and plain text is for loopback alone; '
                "give [tls] ca, cert and key (`sonde-agent enroll` makes them), or a loopback address"
            )
    if proxy and (urlsplit(proxy).scheme != "http" or not urlsplit(proxy).hostname):
        mistakes.append(f'proxy: "{proxy}" must be "http://host:port"')
    if mistakes:
        raise ConfigError(mistakes)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
