"""The process between helper and box: it ties the box's life to the request's connection.

It reads the one request, judges it, forks the box's first process into a new PID namespace, and from then on
only passes frames on. When the connection ends, or says anything more, the box is told to go and killed a
moment later; when the box is gone, by whatever hand, the connection ends. The last frame, `ended`, is sent
when nothing of the box runs any more.
"""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

from google.protobuf.message import DecodeError

from sonde_agent.tunnel import backends, forks, frames, namespaces
from sonde_agent.tunnel.first_process import FirstProcess
from sonde_agent.tunnel.helper_request import Order, Refused, describe, judge
from sonde_agent.tunnel.helper_rules import Rules
from sonde_agent.tunnel.user import User
from sonde_proto.v1 import results_pb2 as pb
from sonde_proto.v1 import tunnel_pb2

_REQUEST_WITHIN_S = 5.0
_GOODBYE_S = 1.2  # for the provider to hear that a session ends; the rest of 2 s is the kernel's
_STUCK_S = 10.0  # an agent that reads nothing for so long has no use for a tunnel
_READ_BYTES = 65536
_ENDED_TAG = tunnel_pb2.HelperEvent.ENDED_FIELD_NUMBER << 3 | 2  # field and wire type: a frame's first byte


class _Stop(Exception):
    """SIGTERM: the helper is told to stop, and no box is there yet."""


class Keeper:
    """Serves one connection, in a process of its own.

    Args:
        connection: the agent's.
        rules: the helper's.
        user: who runs the checks inside.
        take_slot: takes a place for a tunnel, for as long as this process lives; False = none is free.
    """

    def __init__(
        self, connection: socket.socket, rules: Rules, user: User, take_slot: Callable[[], bool]
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._user = user
        self._take_slot = take_slot
        self._verdict: tunnel_pb2.TunnelEnded | None = None
        self._leaving_at = 0.0  # when the box began to tear down

    def run(self) -> None:
        """Serve the connection to its end; a connection that broke has nobody left to tell."""
        signal.signal(signal.SIGTERM, _stop)
        with contextlib.suppress(OSError, frames.BadFrame, _Stop):
            self._serve()

    def _serve(self) -> None:
        try:
            request = self._read_request()
            if (answer := self._answer(request)) is not None:
                self._send(answer)
                return
            order = judge(request.open, self._rules)
        except Refused as refused:
            self._judge(refused.failure, refused.detail)
        else:
            if self._take_slot():
                self._keep(order)
            else:
                most = self._rules.most
                self._judge(pb.FAILURE_LOCAL, f"{most} tunnels are open already (limits.tunnels)")
        self._send(tunnel_pb2.HelperEvent(ended=self._verdict))

    def _read_request(self) -> tunnel_pb2.HelperRequest:
        splitter, until = frames.Splitter(), time.monotonic() + _REQUEST_WITHIN_S
        whole: list[bytes] = []
        while not whole:
            self._connection.settimeout(max(until - time.monotonic(), 0.001))
            data = self._connection.recv(_READ_BYTES)
            if not data:
                raise frames.BadFrame("no request")
            whole = splitter.feed(data)
        self._connection.settimeout(_STUCK_S)
        if len(whole) > 1 or splitter.partial:
            raise frames.BadFrame("more than one request")
        try:
            request = tunnel_pb2.HelperRequest.FromString(whole[0])
        except DecodeError:
            raise frames.BadFrame("no request") from None
        if request.WhichOneof("request") is None:
            raise Refused(pb.FAILURE_UNSUPPORTED, "this helper is too old for that request")
        return request

    def _answer(self, request: tunnel_pb2.HelperRequest) -> tunnel_pb2.HelperEvent | None:
        """Give the answer to a request that wants no tunnel; None = it wants one."""
        kind = request.WhichOneof("request")
        if kind == "describe":
            return tunnel_pb2.HelperEvent(described=describe(request.describe, self._rules))
        if kind == "host":
            states = [
                tunnel_pb2.BackendState(name=name, lacks=lacks or "")
                for name, lacks in backends.lacking().items()
            ]
            host = tunnel_pb2.HostDescribed(backends=states, tunnels=self._rules.most)
            return tunnel_pb2.HelperEvent(host=host)
        return None

    def _keep(self, order: Order) -> None:
        """Have the box made, pass on what it says, and see it gone.

        From here on SIGTERM interrupts nothing, whenever and however often it comes: it is something to read.
        """
        began = time.monotonic()
        stop_r, stop_w = os.pipe()
        os.set_blocking(stop_w, False)
        signal.set_wakeup_fd(stop_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _note)
        life_r, life_w = (
            os.pipe()
        )  # tells the first process that this one ended before it asked to die with it
        first_r, first_w = os.pipe()
        inside_r, inside_w = os.pipe()

        def be_first() -> None:
            signal.set_wakeup_fd(-1)
            self._connection.close()
            for fd in (stop_r, stop_w, life_w, first_r, inside_r):
                os.close(fd)
            FirstProcess(
                order,
                rules=self._rules,
                user=self._user,
                events=first_w,
                inside_events=inside_w,
                life=life_r,
                began=began,
            ).run()

        namespaces.unshare(namespaces.NEW_PIDS)
        pid = forks.fork(be_first)
        for fd in (life_r, first_w, inside_w):
            os.close(fd)
        try:
            self._pass_on(pid, (first_r, inside_r), stop_r)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)  # returns when all that ran in its namespace is gone
        self._judge(pb.FAILURE_INTERNAL, "the tunnel's box was killed")
        assert self._verdict is not None
        self._verdict.teardown_ms = (time.monotonic() - self._leaving_at) * 1000

    def _pass_on(self, pid: int, sources: tuple[int, ...], stop: int) -> None:
        """Forward whole frames until the box's first process is gone or has to go.

        Args:
            pid: the first process.
            sources: where frames come from.
            stop: gets readable with SIGTERM.
        """
        watch = select.poll()
        splitters = {fd: frames.Splitter() for fd in sources}
        for fd in (process := os.pidfd_open(pid), *sources, stop):
            watch.register(fd, select.POLLIN)
        watch.register(self._connection, select.POLLIN | select.POLLRDHUP)
        until: float | None = None  # by when the box must have gone
        while until is None or time.monotonic() < until:
            left_ms = None if until is None else max(until - time.monotonic(), 0) * 1000
            ready = {fd for fd, _ in watch.poll(left_ms)}
            if stop in ready:
                watch.unregister(stop)
                self._judge(pb.FAILURE_LOCAL, "the tunnel helper was stopped")
                with contextlib.suppress(OSError):  # the agent has hung up itself
                    self._connection.shutdown(socket.SHUT_RD)  # from now on as if it had
            for fd, splitter in splitters.items():  # in this order: stages come before what is measured
                if fd in ready and not self._forward(fd, splitter):
                    watch.unregister(fd)
            if process in ready:
                return
            if self._connection.fileno() in ready:
                watch.unregister(self._connection)
                os.kill(pid, signal.SIGTERM)
            if until is None and (self._verdict is not None or self._connection.fileno() in ready):
                until = time.monotonic() + _GOODBYE_S

    def _forward(self, source: int, splitter: frames.Splitter) -> bool:
        """Pass on what is whole, but keep the verdict for later; False = the source has ended."""
        data = os.read(source, _READ_BYTES)
        for frame in splitter.feed(data):
            if frame[:1] != bytes([_ENDED_TAG]):
                self._send_on(frame)
            else:
                ended = tunnel_pb2.HelperEvent.FromString(frame).ended
                self._judge(ended.failure, ended.detail, ended.stage)
        return bool(data)

    def _send_on(self, frame: bytes) -> None:
        """Pass a frame on; that the agent is gone, or stuck, is seen by `_pass_on`."""
        try:
            self._connection.sendall(frames.encode(frame))
        except TimeoutError:  # a part of the frame may have gone: nothing can follow it
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _judge(
        self,
        failure: pb.Failure.ValueType,
        detail: str,
        stage: pb.Stage.ValueType = pb.STAGE_NONE,
    ) -> None:
        """Keep why it ended; what is said later follows from it."""
        if self._verdict is not None:
            return
        self._verdict = tunnel_pb2.TunnelEnded(failure=failure, stage=stage, detail=detail)
        self._leaving_at = time.monotonic()

    def _send(self, event: tunnel_pb2.HelperEvent) -> None:
        self._connection.sendall(frames.encode(event))


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stop


def _note(_signal: int, _frame: FrameType | None) -> None:
    """Leave it to the wake-up descriptor."""
