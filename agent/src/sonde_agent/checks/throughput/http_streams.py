"""What each connection of our own HTTP engine does: GET or PUT a body again and again, until stopped."""

from abc import ABC, abstractmethod
from collections.abc import Generator

from sonde_agent.checks.endpoint import http1
from sonde_agent.checks.endpoint.failures import Trouble
from sonde_agent.checks.endpoint.http1 import Answer, NotHttp
from sonde_agent.checks.endpoint.pure import Url
from sonde_agent.net.bulk_gate import Gate
from sonde_agent.net.bulk_pipe import Pipe, Steps
from sonde_proto.v1 import results_pb2 as pb

PUT_BYTES = 1 << 28
"""Of one PUT: at the end of each the connection idles for a round trip, so there are few."""

LEAST_BODY_BYTES = 65_536
"""Smaller bodies measure how fast requests are answered, not what the path carries."""

_HTTP = b"HTTP/1."
_REFUSES = 300  # this status and above: no body, or not the one asked for
_TOO_LARGE = 413


class HttpStream(ABC):
    """A connection that speaks HTTP/1.1, and the stage that it has come to."""

    def __init__(self, url: Url, pipe: Pipe, gate: Gate) -> None:
        self.pipe = pipe
        self.stage: pb.Stage.ValueType = pb.STAGE_NONE
        self._url, self.gate = url, gate

    @abstractmethod
    def steps(self) -> Steps:
        """What it does, until it is stopped; see `bulk.Stream`."""

    def request(self, method: str, **more: str) -> bytes:
        """The bytes of a request for our URL; `more` are headers, with _ for -."""
        headers = {
            "Host": self._url.authority,
            "User-Agent": "sonde",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        try:
            return http1.request(method, self._url.target, headers)
        except ValueError as error:
            raise Trouble(pb.FAILURE_LOCAL, str(error), pb.STAGE_NONE) from None

    def connect(self) -> Steps:
        """Connect, and shake hands where the URL is https."""
        self.stage = pb.STAGE_TRANSPORT
        yield from self.pipe.connect()
        self.stage = pb.STAGE_HANDSHAKE
        yield from self.pipe.secure()
        self.stage = pb.STAGE_FIRST_BYTE

    def answer(self, method: str) -> Generator[int, None, Answer]:
        """Receive the head of the next answer.

        Raises:
            EOFError: the peer closed the connection before its end.
            Trouble: it is no HTTP, or refuses.
        """
        answer = Answer(method, 0, keep=False)
        while not answer.head_done:  # an interim answer (1xx) is followed by another
            first = yield from self.pipe.exactly(
                len(_HTTP)
            )  # whoever speaks first and otherwise may wait for us
            head = (yield from self.pipe.head()) if first == _HTTP else b""
            try:
                answer.feed(first + head)
            except NotHttp as error:
                raise Trouble(pb.FAILURE_PROTOCOL, str(error)) from None
            if not head.endswith(b"\r\n\r\n"):
                raise EOFError
        if answer.status >= _REFUSES:
            words = f"{method} {self._url.target[:80]}: it answers with {answer.status}"
            if answer.status == _TOO_LARGE:
                words += f"; an upload sends {PUT_BYTES >> 20} MiB at once (nginx: client_max_body_size 0)"
            raise Trouble(pb.FAILURE_EXPECTATION, words, pb.STAGE_EXPECT)
        return answer


class Download(HttpStream):
    """GET, again and again."""

    def steps(self) -> Steps:
        """See `bulk.Stream`."""
        asked = self.request("GET")
        yield from self.connect()
        kept = False  # the connection has carried an answer: its peer may close it without offence
        while True:
            try:
                yield from self.pipe.send(asked)
                answer = yield from self.answer("GET")
            except (EOFError, ConnectionError) as error:
                if not kept:
                    raise closed(error) from None
                kept = False
            else:
                kept = yield from self._body(answer)
            if not kept:
                yield from self.connect()

    def _body(self, answer: Answer) -> Generator[int, None, bool]:
        """Receive the body; whether the connection can be asked again."""
        if "transfer-encoding" in answer.headers:
            words = "the body comes in chunks (Transfer-Encoding): give the URL of a file of known length"
            raise Trouble(pb.FAILURE_EXPECTATION, words, pb.STAGE_EXPECT)
        length = _length(answer)
        if length is not None and length < LEAST_BODY_BYTES:
            words = f"the body has {length} bytes: too few to measure with, give a URL with 1 MB or more"
            raise Trouble(pb.FAILURE_EXPECTATION, words, pb.STAGE_EXPECT)
        self.stage = pb.STAGE_TRANSFER
        try:
            yield from self.pipe.swallow(length, self.gate)
        except (EOFError, ConnectionError) as error:
            raise closed(error) from None
        return length is not None and not _closes(answer)


class Upload(HttpStream):
    """PUT, again and again."""

    def steps(self) -> Steps:
        """See `bulk.Stream`."""
        asked = self.request("PUT", Content_Length=str(PUT_BYTES), Content_Type="application/octet-stream")
        yield from self.connect()
        while True:
            yield from self.pipe.send(asked)
            self.stage = pb.STAGE_TRANSFER
            try:
                left = yield from self.pipe.pour(PUT_BYTES, self.gate)
                answer = yield from self.answer("PUT")
            except (EOFError, ConnectionError) as error:
                raise closed(error) from None
            length = _length(answer)
            if not left and length is not None and not _closes(answer):
                yield from self.pipe.exactly(length)
            else:
                yield from self.connect()


def _length(answer: Answer) -> int | None:
    """Bytes of the body, by its head; None where only its end tells."""
    if answer.done:
        return 0
    if "transfer-encoding" in answer.headers or "content-length" not in answer.headers:
        return None
    return int(answer.headers["content-length"].partition(",")[0])


def _closes(answer: Answer) -> bool:
    """Whether the peer ends the connection after its answer."""
    return answer.version == "1.0" or "close" in answer.headers.get("connection", "").lower()


def closed(error: Exception) -> Exception:
    """What to say of an end that the peer made."""
    if isinstance(error, EOFError):
        return Trouble(pb.FAILURE_RESET, "the peer closed the connection early")
    return error
