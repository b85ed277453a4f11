"""Names to addresses for unlock checks: asked by ourselves, one family at a time, and who said it is known.

getaddrinfo() would hide who answered, mix families, and ask a daemon of the host's outside a tunnel.
"""

import ssl
import threading
import time
from typing import Any, NamedTuple

from sonde_agent.net.resolve import system_servers

DNS_PORT, TLS_PORT = 53, 853
_ASK_WITHIN_S = 2.0
_ATTEMPTS = 2


class NoAnswer(Exception):
    """Nobody could say.

    Args:
        words: why, for a person.
        no_address: the name is there, and has no address of the family.
    """

    def __init__(self, words: str, *, no_address: bool = False) -> None:
        super().__init__(words)
        self.no_address = no_address


class Looked(NamedTuple):
    """Addresses of one family, and how long the answer took; None = it was known already [ms]."""

    addresses: tuple[str, ...]
    took_ms: float | None


class Names:
    """Looks each name and family up once; threads that want the same wait for one answer.

    Args:
        server: whom to ask.
    """

    def __init__(self, server: "SystemResolver | TrustedResolver") -> None:
        self._server = server
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, int], threading.Lock] = {}
        self._known: dict[tuple[str, int], tuple[str, ...] | NoAnswer] = {}

    @property
    def who(self) -> str:
        """The address of the resolver."""
        return self._server.who

    def look_up(self, name: str, family: int, within_s: float) -> Looked:
        """Give the addresses of a name; blocks.

        Raises:
            NoAnswer: there is none.
        """
        with self._lock:
            lock = self._locks.setdefault((name, family), threading.Lock())
        if not lock.acquire(timeout=max(within_s, 0)):
            raise NoAnswer("the resolver gives no answer in time")
        took_ms = None
        try:
            if (name, family) not in self._known:
                began = time.monotonic()
                try:
                    self._known[name, family] = self._server.ask(name, family, within_s)
                except NoAnswer as none:
                    self._known[name, family] = none
                took_ms = (time.monotonic() - began) * 1000
            known = self._known[name, family]
        finally:
            lock.release()
        if isinstance(known, NoAnswer):
            raise NoAnswer(str(known), no_address=known.no_address)
        return Looked(known, took_ms)


class SystemResolver:
    """The resolvers of this network namespace: the host's, or in a tunnel those that it brought."""

    def __init__(self, servers: tuple[str, ...] | None = None, port: int = DNS_PORT) -> None:
        import dns.query  # noqa: F401, PLC0415 -- now, so that its loading is no part of the first look-up

        self._servers = tuple(system_servers()) if servers is None else servers
        self._port = port
        self.who = self._servers[0]

    def ask(self, name: str, family: int, within_s: float) -> tuple[str, ...]:
        """Give the addresses of a name; raises `NoAnswer`."""
        import dns.exception  # noqa: PLC0415 -- 6 MB, which an agent without such checks saves
        import dns.query  # noqa: PLC0415

        question = _question(name, family)
        until = time.monotonic() + within_s
        why = "the resolver gives no answer"
        for _ in range(_ATTEMPTS):
            for server in self._servers:
                left_s = min(_ASK_WITHIN_S, until - time.monotonic())
                if left_s <= 0:
                    break
                try:
                    reply, _tcp = dns.query.udp_with_fallback(
                        question, server, timeout=left_s, port=self._port, ignore_unexpected=True
                    )
                    return _addresses(reply, family)
                except dns.exception.Timeout:
                    continue
                except (dns.exception.DNSException, OSError, EOFError) as error:
                    why = f"the resolver failed: {type(error).__name__}"
        raise NoAnswer(why)


class TrustedResolver:
    """A resolver whose answers nobody on the way can change: DNS over TLS (RFC 7858).

    Args:
        address: its address.
        name: what its certificate is for.
        context: whom TLS believes.
        port: where it listens.
    """

    def __init__(self, address: str, name: str, context: ssl.SSLContext, port: int = TLS_PORT) -> None:
        self._address, self._name, self._context, self._port = address, name, context, port
        self._silent = ""
        self.who = address

    def ask(self, name: str, family: int, within_s: float) -> tuple[str, ...]:
        """Give the addresses of a name; raises `NoAnswer`, and once it was silent asks no more."""
        import dns.exception  # noqa: PLC0415 -- as above
        import dns.query  # noqa: PLC0415

        if self._silent:
            raise NoAnswer(self._silent)
        try:
            reply = dns.query.tls(
                _question(name, family),
                self._address,
                timeout=min(_ASK_WITHIN_S * _ATTEMPTS, max(within_s, 0.001)),
                port=self._port,
                ssl_context=self._context,
                server_hostname=self._name,
            )
        except (dns.exception.DNSException, OSError, EOFError) as error:
            self._silent = f"the trusted resolver does not answer: {type(error).__name__}"
            raise NoAnswer(self._silent) from None
        return _addresses(reply, family)


def _question(name: str, family: int) -> Any:
    import dns.exception  # noqa: PLC0415 -- as above
    import dns.message  # noqa: PLC0415

    try:
        return dns.message.make_query(name, "AAAA" if family == 6 else "A", use_edns=0, payload=1232)  # noqa: PLR2004
    except (dns.exception.DNSException, UnicodeError, ValueError):
        raise NoAnswer(f"{name} is no name that DNS knows") from None


def _addresses(reply: Any, family: int) -> tuple[str, ...]:
    """Give what an answer holds at the end of its aliases."""
    import dns.exception  # noqa: PLC0415 -- as above
    import dns.rcode  # noqa: PLC0415

    if reply.rcode() == dns.rcode.NXDOMAIN:
        raise NoAnswer("the name does not exist")
    if reply.rcode() != dns.rcode.NOERROR:
        raise NoAnswer(f"the resolver answers {dns.rcode.to_text(reply.rcode())}")
    try:
        found = reply.resolve_chaining().answer
    except dns.exception.DNSException as error:
        raise NoAnswer(f"the resolver's answer is broken: {type(error).__name__}") from None
    if not found:
        raise NoAnswer(f"the name has no IPv{family} address", no_address=True)
    return tuple(item.address for item in found)
