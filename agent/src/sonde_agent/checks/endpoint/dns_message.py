"""DNS questions and answers as bytes. No socket, no clock.

dnspython is loaded at the first question: it takes 6 MB, which an agent without a dns check saves.
"""

from typing import NamedTuple

from sonde_agent.checks.endpoint.expect import plain_answer


class NotDns(ValueError):
    """The server's bytes are no answer to our question; the text says why."""


class DnsAnswer(NamedTuple):
    """What a server answered: `answers` are those of the type asked for, sorted."""

    rcode: int
    rcode_word: str
    truncated: bool
    answers: list[str]


def question(name: str, kind: str) -> bytes:
    """A recursive question in wire format, with EDNS. **Pure** but for its random id.

    Raises:
        ValueError: when name or type is malformed, saying which.
    """
    import dns.exception  # noqa: PLC0415 - see above
    import dns.message  # noqa: PLC0415
    import dns.rdatatype  # noqa: PLC0415

    try:
        kind_number = dns.rdatatype.from_text(kind or "A")
    except (dns.rdatatype.UnknownRdatatype, ValueError):
        raise ValueError(
            f"{kind!r} is no DNS record type; common ones are A, AAAA, CNAME, MX, NS, TXT"
        ) from None
    try:
        return dns.message.make_query(name, kind_number, use_edns=0, payload=1232).to_wire()
    except (dns.exception.DNSException, UnicodeError, ValueError) as error:
        raise ValueError(f"{name!r} is no DNS name: {error}") from None


def answers_us(asked: bytes, reply: bytes) -> bool:
    """Whether a datagram claims to answer this question; one to another is passed over. **Pure.**"""
    return reply[:2] == asked[:2]


def read(asked: bytes, reply: bytes) -> DnsAnswer:
    """Take an answer apart. **Pure.**

    Raises:
        NotDns: when it is no DNS message, or answers another question.
    """
    import dns.exception  # noqa: PLC0415 - see above
    import dns.flags  # noqa: PLC0415
    import dns.message  # noqa: PLC0415
    import dns.rcode  # noqa: PLC0415

    query = dns.message.from_wire(asked)
    try:
        message = dns.message.from_wire(reply, ignore_trailing=True)
    except dns.message.Truncated as error:
        message = error.message()  # type: ignore[no-untyped-call]
    except (dns.exception.DNSException, ValueError) as error:
        raise NotDns("the answer is no DNS message") from error
    if not query.is_response(message):
        raise NotDns("the answer is to another question")
    kind = query.question[0].rdtype
    found = {
        plain_answer(item.to_text()) for rrset in message.answer if rrset.rdtype == kind for item in rrset
    }
    rcode = message.rcode()
    return DnsAnswer(int(rcode), dns.rcode.to_text(rcode), bool(message.flags & dns.flags.TC), sorted(found))
