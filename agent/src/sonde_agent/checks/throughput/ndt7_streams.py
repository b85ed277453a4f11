"""ndt7, the protocol of Measurement Lab's speed test: frames of one WebSocket, as many as the path takes.

Source: github.com/m-lab/ndt-server, spec/ndt7-protocol.md; RFC 6455.
"""

import base64
import hashlib
import os
import struct

from sonde_agent.checks.endpoint.failures import Trouble
from sonde_agent.checks.throughput.http_streams import HttpStream, closed
from sonde_agent.net.bulk_gate import Enough
from sonde_agent.net.bulk_pipe import Steps
from sonde_proto.v1 import results_pb2 as pb

DOWNLOAD_PATH, UPLOAD_PATH = "/ndt/v7/download", "/ndt/v7/upload"
PROTOCOL = "net.measurementlab.ndt.v7"
MESSAGE_BYTES = 1 << 20
"""Of each message that we send; the protocol allows up to 2^24."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = 101
_BINARY, _CLOSE, _PING, _PONG, _FINAL = 2, 8, 9, 10, 0x80
_MASKED = 0x80
_NO_MASK = b"\0\0\0\0"  # random bytes need no other: XOR with 0 leaves them as sendfile() sends them
_LENGTH_16, _LENGTH_64 = 126, 127
_MOST_CONTROL = 125


class _Ndt7Stream(HttpStream):
    """A WebSocket."""

    def _upgrade(self) -> Steps:
        """Open it.

        Raises:
            Trouble: the server does not switch to ndt7.
        """
        yield from self.connect()
        key = base64.b64encode(os.urandom(16))
        yield from self.pipe.send(
            self.request(
                "GET",
                Connection="Upgrade",
                Upgrade="websocket",
                Sec_WebSocket_Key=key.decode(),
                Sec_WebSocket_Version="13",
                Sec_WebSocket_Protocol=PROTOCOL,
            )
        )
        answer = yield from self.answer("GET")
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
        if answer.status != _SWITCHING or answer.headers.get("sec-websocket-accept") != accept:
            raise Trouble(pb.FAILURE_PROTOCOL, "the server does not speak ndt7")
        self.stage = pb.STAGE_TRANSFER

    def _frame(self) -> Steps:
        """Receive one frame: payload is counted, measurements of the server's are passed over.

        Raises:
            Enough: the server ends the test.
        """
        first, second = yield from self.pipe.exactly(2)
        opcode, length = first & 0x0F, second & 0x7F
        if length == _LENGTH_16:
            length = int.from_bytes((yield from self.pipe.exactly(2)), "big")
        elif length == _LENGTH_64:
            length = int.from_bytes((yield from self.pipe.exactly(8)), "big")
        if opcode in (_CLOSE, _PING) and length > _MOST_CONTROL:
            raise Trouble(pb.FAILURE_PROTOCOL, "a control frame is longer than WebSocket allows")
        if opcode == _CLOSE:
            raise Enough
        if opcode == _PING:
            body = yield from self.pipe.exactly(length)
            yield from self.pipe.send(bytes((_FINAL | _PONG, _MASKED | length)) + _NO_MASK + body)
        else:
            yield from self.pipe.swallow(length, self.gate)


class Ndt7Download(_Ndt7Stream):
    """The server sends until it, or we, have enough."""

    def steps(self) -> Steps:
        """See `bulk.Stream`."""
        try:
            yield from self._upgrade()
            while True:
                yield from self._frame()
        except (EOFError, ConnectionError) as error:
            raise closed(error) from None


class Ndt7Upload(_Ndt7Stream):
    """We send; the server tells meanwhile what it has."""

    def steps(self) -> Steps:
        """See `bulk.Stream`."""
        head = struct.pack(">BBQ", _FINAL | _BINARY, _MASKED | _LENGTH_64, MESSAGE_BYTES) + _NO_MASK
        try:
            yield from self._upgrade()
            while True:
                yield from self.pipe.send(head)
                left = MESSAGE_BYTES
                while left:
                    left = yield from self.pipe.pour(left, self.gate)
                    if self.pipe.interrupted:
                        yield from self._listen()
        except (EOFError, ConnectionError) as error:
            raise closed(error) from None

    def _listen(self) -> Steps:
        """Take the server's message in the midst of ours; a pong may not stand there, so a ping waits."""
        self.pipe.interrupted = False
        first, second = yield from self.pipe.exactly(2)
        length = second & 0x7F
        if length == _LENGTH_16:
            length = int.from_bytes((yield from self.pipe.exactly(2)), "big")
        if first & 0x0F == _CLOSE:
            raise Enough
        yield from self.pipe.exactly(length)
