"""The first process of a box: PID 1 of its PID namespace. It makes the room, opens the tunnel, and guards it.

It stays root and in the host's network namespace, where the tunnel's transport belongs; the checks run in a
child of it, inside the box's namespace and without any privilege. Whatever way it ends, the kernel kills all
that it started, and with the last of them namespaces, devices, mounts and files are gone.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from sonde_agent.policy import Policy
from sonde_agent.tunnel import backends, chamber, forks, frames, helper_rules, links, namespaces, xfrm
from sonde_agent.tunnel.backends.base import Backend, Room, TunnelFailed
from sonde_agent.tunnel.descent import CANT_EXECUTE, Descent
from sonde_agent.tunnel.fence import Fence, fence_of
from sonde_agent.tunnel.helper_request import DEFAULT_HANDSHAKE_MS, Order
from sonde_agent.tunnel.helper_rules import Rules
from sonde_agent.tunnel.user import User
from sonde_proto.v1 import results_pb2 as pb
from sonde_proto.v1 import tunnel_pb2

_LOOK_EVERY_MS = 200
_RATHER_THIS = "500"  # oom_score_adj: when memory runs out, a tunnel is lost and not the agent


class _Stop(BaseException):
    """SIGTERM: nobody wants the tunnel any more. It passes whatever a backend catches."""


class FirstProcess:
    """The making, guarding and ending of one tunnel.

    Args:
        order: what was asked, and may be done.
        rules: of the helper.
        user: who runs the checks.
        events: where stages and the end are told: frames of HelperEvent.
        inside_events: where the checks tell theirs.
        life: ends with the keeper.
        began: when the request was accepted [`time.monotonic()`].
    """

    def __init__(
        self,
        order: Order,
        *,
        rules: Rules,
        user: User,
        events: int,
        inside_events: int,
        life: int,
        began: float,
    ) -> None:
        self._order = order
        self._policy = Policy(rules.policy, time.time_ns() // 1000)
        self._rules = rules
        self._user = user
        self._events = events
        self._inside_events = inside_events
        self._life = life
        self._began = began
        self._stages_ms = 0.0
        self._backend: Backend | None = None

    def run(self) -> None:
        """Live as long as the tunnel; say how it ended, then tear it down."""
        namespaces.die_with_parent()
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if select.select([self._life], [], [], 0)[0]:
            return  # the keeper died before this process could be told by the kernel
        try:
            self._live()
            self._end(pb.FAILURE_NONE, pb.STAGE_NONE, "")
        except TunnelFailed as failed:
            self._end(failed.failure, failed.stage, failed.detail)
        except _Stop:
            pass  # there is nobody to tell
        except Exception as error:  # its text may hold a profile's, so it is not told
            self._end(pb.FAILURE_INTERNAL, pb.STAGE_NONE, forks.where(error))
            raise
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if self._backend is not None:
                self._backend.down()

    def _live(self) -> None:
        fence = fence_of(self._rules.policy, time.time_ns() // 1000)
        room, child = self._make_room(fence)
        self._backend = backend = backends.choose(self._order.profile.protocol, self._order.backends)
        up = backend.up(self._order.profile, self._order.secrets, room)
        dns = up.dns or self._host_resolvers()
        chamber.name_resolvers(dns)
        own = fence.own({address for address in (up.gateway, *up.dns) if address})
        xfrm.fence(room.box_netns, passed=own)
        self._let_begin(
            own,
            tunnel_pb2.TunnelUp(
                backend=backend.name,
                server_address=up.server_address,
                server_port=up.server_port,
                family=up.family,
                connection_ms=self._stages_ms,
                addresses=up.addresses,
                gateway=up.gateway,
                dns=dns,
                mtu=up.mtu,
            ),
        )
        self._guard(backend, child)

    def _make_room(self, fence: Fence) -> tuple[Room, int]:
        """Make all that the tunnel needs, and start the process of the checks; it waits for its orders."""
        Path("/proc/self/oom_score_adj").write_text(_RATHER_THIS, encoding="ascii")
        host_netns = namespaces.own_netns()
        chamber.furnish()
        box_netns = namespaces.new_netns()
        orders_r, self._orders = os.pipe()
        child = forks.fork(Descent(box_netns, self._user, orders_r, self._inside_events).run)
        os.close(orders_r)
        os.close(self._inside_events)
        links.raise_loopback(box_netns)
        try:
            xfrm.fence(box_netns, denied=fence.denied, passed=fence.passed)
        except OSError as error:
            detail = f"this kernel can't keep the policy inside a tunnel (CONFIG_XFRM_USER): {error.strerror}"
            raise TunnelFailed(pb.FAILURE_UNSUPPORTED, pb.STAGE_NONE, detail) from None
        handshake_ms = self._order.request.handshake_ms or DEFAULT_HANDSHAKE_MS
        room = Room(
            folder=chamber.FOLDER,
            host_netns=host_netns,
            box_netns=box_netns,
            deadline=time.monotonic() + handshake_ms / 1000,
            family=self._order.request.family,
            refuse=self._policy.refuse_address,
            stage=self._tell_stage,
        )
        return room, child

    def _host_resolvers(self) -> list[str]:
        """For a provider that names none: the host's, as far as a tunnel may lead to them."""
        return [at for at in chamber.host_resolvers() if self._policy.refuse_address(at, None) is None]

    def _let_begin(self, own: Sequence[str], up: tunnel_pb2.TunnelUp) -> None:
        """Give the process of the checks its orders: policy and times, what to run, and the tunnel."""
        terms = {
            "began": self._began,
            "own": list(own),
            "policy": self._rules.policy_document(),
            "unlock": helper_rules.unlock_terms(self._rules),
        }
        with contextlib.suppress(BrokenPipeError):  # it died; `_guard` finds that out
            for frame in (json.dumps(terms).encode(), self._order.request, up):
                frames.send(self._orders, frame)
        os.close(self._orders)

    def _guard(self, backend: Backend, child: int) -> None:
        """Wait until the checks are done, and longer where asked, as long as the tunnel is up.

        Raises:
            TunnelFailed: it went down, or the process of the checks did.
        """
        watch = select.poll()
        watch.register(os.pidfd_open(child), select.POLLIN)
        while True:
            if watch.poll(_LOOK_EVERY_MS):
                _, status = os.waitpid(child, 0)
                code = os.waitstatus_to_exitcode(status)
                if code == CANT_EXECUTE:
                    detail = f"the agent's user may not run {sys.executable}: install it where everybody may"
                    raise TunnelFailed(pb.FAILURE_PERMISSION, pb.STAGE_NONE, detail)
                if code:
                    raise TunnelFailed(pb.FAILURE_INTERNAL, pb.STAGE_NONE, _how_it_ended(code))
                break
            _require_up(backend)
        while self._order.request.hold:
            time.sleep(_LOOK_EVERY_MS / 1000)
            _require_up(backend)

    def _tell_stage(self, stage: pb.Stage.ValueType, ms: float) -> None:
        self._stages_ms += ms
        self._tell(tunnel_pb2.HelperEvent(stage=tunnel_pb2.StageDone(stage=stage, ms=ms)))

    def _end(self, failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, detail: str) -> None:
        ended = tunnel_pb2.TunnelEnded(failure=failure, stage=stage, detail=detail)
        self._tell(tunnel_pb2.HelperEvent(ended=ended))

    def _tell(self, event: tunnel_pb2.HelperEvent) -> None:
        with contextlib.suppress(BrokenPipeError):  # the keeper is gone, and this process in a moment
            frames.send(self._events, event)


def _require_up(backend: Backend) -> None:
    failed = backend.lost()
    if failed is not None:
        raise failed


def _how_it_ended(code: int) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return f"the process of the checks inside the tunnel {how}"


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stop
