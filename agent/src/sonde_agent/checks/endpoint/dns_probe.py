"""One question to a DNS server, over UDP, and over TCP when the answer does not fit. Blocks.

One datagram, sent once: a lost one is a timeout, as packet loss on the way to a server should be seen.
"""

from sonde_agent.checks.endpoint import expect
from sonde_agent.checks.endpoint.dns_message import DnsAnswer, NotDns, answers_us, question, read
from sonde_agent.checks.endpoint.failures import Trouble
from sonde_agent.checks.endpoint.probe import Probe
from sonde_agent.checks.endpoint.pure import parse_host_port
from sonde_agent.net import resolve, stamps
from sonde_agent.net.dial import Answers
from sonde_proto.v1 import results_pb2 as pb

DNS_PORT = 53
LENGTH_BYTES = 2  # before each message over TCP, RFC 1035 section 4.2.2
NXDOMAIN = 3  # RFC 1035 section 4.1.1


class DnsProbe(Probe):
    """What does the server answer? `resolve_ms` is the time from question out to answer in."""

    _question = b""

    def _prepare(self) -> None:
        try:
            self._question = question(self._spec.url, self._spec.dns_type)
        except ValueError as error:
            raise Trouble(pb.FAILURE_LOCAL, str(error), pb.STAGE_NONE) from None

    def _measure(self, address: str) -> None:
        server, asked, port = self._spec.dns_server, self._question, DNS_PORT
        if server and not resolve.family_of(server):
            port = parse_host_port(server, DNS_PORT)[1]
        self._stage = pb.STAGE_TRANSPORT
        if reason := self._context.refuse(address, port):
            raise Trouble(pb.FAILURE_POLICY, reason)
        with Answers(address, port, asked, self._deadline) as replies:
            reply, took = replies.receive()
            while not answers_us(asked, reply):
                reply, took = replies.receive()
        self._took("resolve_ms", took)
        answer = _read(asked, reply)
        if answer.truncated:
            answer = self._dns_over_tcp(address, port, asked)
        out = self._out
        out.status, out.answers = answer.rcode, ",".join(answer.answers)
        self._judge(answer)

    def _dns_over_tcp(self, address: str, port: int, asked: bytes) -> DnsAnswer:
        """The same question over TCP, as RFC 7766 section 5 asks after truncation."""
        with self._connected(address, port) as wire:
            wire.send(len(asked).to_bytes(LENGTH_BYTES) + asked)
            data = b""
            while len(data) < LENGTH_BYTES or len(data) < LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES]):
                chunk = wire.receive()
                if not chunk:
                    raise Trouble(pb.FAILURE_RESET, "the answer ends early: the server closed the connection")
                data += chunk
            self._took("resolve_ms", stamps.interval(wire.settle(), wire.received))
        return _read(asked, data[LENGTH_BYTES:])

    def _judge(self, answer: DnsAnswer) -> None:
        wants, rcode, word = self._spec.expect, answer.rcode, answer.rcode_word
        if wants.status:
            if rcode not in wants.status:
                self._mismatch = (
                    f"the server answered {word} ({rcode}), expected {' or '.join(map(str, wants.status))}"
                )
        elif rcode == NXDOMAIN:
            raise Trouble(pb.FAILURE_NO_ADDRESS, "the name does not exist (NXDOMAIN)", pb.STAGE_RESOLVE)
        elif rcode:
            raise Trouble(pb.FAILURE_DNS, f"the server answered {word}", pb.STAGE_RESOLVE)
        elif not answer.answers and not wants.answers:
            raise Trouble(
                pb.FAILURE_NO_ADDRESS,
                f"the name has no {self._spec.dns_type or 'A'} record",
                pb.STAGE_RESOLVE,
            )
        self._mismatch = self._mismatch or expect.answers_mismatch(wants, answer.answers)


def _read(asked: bytes, reply: bytes) -> DnsAnswer:
    try:
        return read(asked, reply)
    except NotDns as error:
        raise Trouble(pb.FAILURE_PROTOCOL, str(error)) from None
