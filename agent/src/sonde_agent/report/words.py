"""The words and figures that every report is made of. **Pure.**"""

from collections.abc import Callable

from google.protobuf.message import Message

from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2 as pb

GREEN, RED, DIM, BOLD, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"

STAGES = {
    pb.STAGE_RESOLVE: "while resolving the name",
    pb.STAGE_TRANSPORT: "while connecting",
    pb.STAGE_HANDSHAKE: "in the handshake",
    pb.STAGE_AUTH: "when saying who we are",
    pb.STAGE_CONFIGURED: "while being configured",
    pb.STAGE_FIRST_BYTE: "waiting for the first byte",
    pb.STAGE_TRANSFER: "in the middle of the answer",
    pb.STAGE_EXPECT: "comparing with what is expected",
}
FAILURES = {
    pb.FAILURE_TIMEOUT: "timeout",
    pb.FAILURE_REFUSED: "refused",
    pb.FAILURE_RESET: "connection lost",
    pb.FAILURE_UNREACHABLE: "unreachable",
    pb.FAILURE_NO_ADDRESS: "no address",
    pb.FAILURE_DNS: "DNS failure",
    pb.FAILURE_TLS: "TLS failure",
    pb.FAILURE_CERTIFICATE: "bad certificate",
    pb.FAILURE_PROTOCOL: "wrong protocol",
    pb.FAILURE_AUTH: "credentials refused",
    pb.FAILURE_EXPECTATION: "not as expected",
    pb.FAILURE_LOCAL: "a problem on this host",
    pb.FAILURE_UNSUPPORTED: "this host can't",
    pb.FAILURE_POLICY: "forbidden by this agent's policy",
    pb.FAILURE_INTERNAL: "the check itself broke",
    pb.FAILURE_LEAK: "it leaks",
    pb.FAILURE_BUSY: "too busy",
    pb.FAILURE_PROFILE: "the profile can't be used",
    pb.FAILURE_PERMISSION: "this host may open no tunnel",
}
NOTES = {
    Quality.USER_STAMPS: "some times are this process's own, not the kernel's",
    Quality.SUCCESS_BY_PING: "success means: it answers ping",
    Quality.NOT_READY: "this host was not fit to judge others",
    Quality.CLOCK_STEPPED: "the wall clock was stepped meanwhile",
    Quality.INSECURE: "the certificate was not verified",
    Quality.BODY_CAPPED: "only the beginning of the body was read",
    Quality.RAW_SOCKET: "through a raw socket",
    Quality.CPU_LIMITED: "our own CPU was the limit",
    Quality.BYTE_BOUND: "the transfer ended at its bytes, before its time",
    Quality.RATE_CAPPED: "the transfer was held at the rate cap",
    Quality.EXIT_UNKNOWN: "nobody was asked by which address the world sees the tunnel",
    Quality.HANDSHAKE_ONLY: "a handshake without a tunnel",
    Quality.ON_DEMAND: "a person asked for this run",
}
Paint = Callable[[str, str], str]
"""Gives text in a colour, or as it is."""


def has(message: Message, name: str) -> bool:
    """Whether the message has the field."""
    return bool(message.HasField(name))


def ms(value: float) -> str:
    """Milliseconds in three significant places or more: 0.031, 4.27, 31.4, 1204."""
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 1000 else 0  # noqa: PLR2004 - places on a screen
    return f"{value:.{decimals}f}"


def failure_words(failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, words: str) -> str:
    """Say what failed, where, and why."""
    text = " ".join(filter(None, (FAILURES.get(failure, "failed"), STAGES.get(stage))))
    return f"{text}: {words}" if words else text


def notes(quality: int) -> list[str]:
    """Give what a reader should know before trusting the figures."""
    return [note for flag, note in NOTES.items() if flag & quality]
