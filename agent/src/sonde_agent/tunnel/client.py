"""The agent's side of a tunnel: ask the helper for one, and follow what happens in it."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from sonde_agent.tunnel import frames
from sonde_proto.v1 import results_pb2 as pb
from sonde_proto.v1 import tunnel_pb2

DEFAULT_SOCKET = "/run/sonde/helper.sock"
_ANSWER_WITHIN_S = 10.0
_GONE_WITHIN_S = 2.5  # the keeper gives a tunnel half of it to say goodbye
_HELPER = (sys.executable, "-I", "-m", "sonde_agent.cli", "tunnel-helper")
_HUNG_UP = "the tunnel helper closed the connection; its log may say why"
_BUFFER_BYTES = 2 * frames.MOST_BYTES
_NO_DESCENT = (
    "tunnels need the host's root: this is root of a user namespace alone, which can't give up its rights"
)


class TunnelError(Exception):
    """There is no tunnel, and it is our side's fault.

    Args:
        failure: PERMISSION, PROFILE, POLICY, UNSUPPORTED or INTERNAL.
        detail: one line for a person: what, and what to do.
    """

    def __init__(self, failure: pb.Failure.ValueType, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


class Tunnels:
    """Where tunnels come from: the helper's socket, or for root without one a helper of its own.

    Args:
        socket: path of the helper's socket.
        config: agent.toml, for a helper of our own.
    """

    def __init__(self, socket: str = DEFAULT_SOCKET, config: Path | None = None) -> None:
        self._path = socket
        self._arguments = ["--config", str(config)] if config else None
        self._child: _Child | None = None

    @classmethod
    def for_file(
        cls,
        file: Path,
        *,
        username_file: Path | None = None,
        password_file: Path | None = None,
        unlock: str = "",
    ) -> Self:
        """Give tunnels by one profile, for root by hand: credential "file", profile the file's name.

        `unlock` is what unlock checks inside need (`helper_rules.unlock_terms`); "" = there are none.
        """
        tunnels = cls(socket="")
        tunnels._arguments = ["--profile", str(file.absolute())]
        for option, path in (("--username-file", username_file), ("--password-file", password_file)):
            if path is not None:
                tunnels._arguments += [option, str(path.absolute())]
        if unlock:
            tunnels._arguments += ["--unlock", unlock]
        return tunnels

    def lacks(self) -> str | None:
        """Why no tunnel can be opened here and how to mend that, or None. Cheap; asks nobody."""
        if self._path and os.access(self._path, os.W_OK):
            return None
        if os.geteuid() == 0 and self._arguments is not None:
            return None if _can_descend() else _NO_DESCENT
        if self._path and Path(self._path).exists():
            return f"this user may not use the tunnel helper: {self._path} belongs to another group"
        where = f" ({self._path} is not there)" if self._path else ""
        return f"tunnels need root or the tunnel helper{where}: sonde-agent tunnel-helper --help"

    @asynccontextmanager
    async def open(
        self, request: tunnel_pb2.OpenTunnel
    ) -> AsyncIterator[AsyncIterator[tunnel_pb2.HelperEvent]]:
        """Open a tunnel for as long as the context lasts; gives what happens, `ended` last.

        Leaving the context ends the tunnel, and waits until nothing of it is left.

        Raises:
            TunnelError: there is no helper, or this user may not ask it.
        """
        async with self._connected() as (reader, writer):
            writer.write(frames.encode(tunnel_pb2.HelperRequest(open=request)))
            events = _events(reader)
            try:
                yield events
            finally:
                writer.write_eof()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GONE_WITHIN_S):
                        while await frames.read(reader) is not None:
                            pass

    async def describe(self, credential: str, profile: str) -> tunnel_pb2.Described:
        """Give what a profile may be known by.

        Raises:
            TunnelError: there is no such profile, or it can't be used, or no helper to ask.
        """
        wanted = tunnel_pb2.DescribeProfile(credential=credential, profile=profile)
        return (await self._ask(tunnel_pb2.HelperRequest(describe=wanted))).described

    async def host(self) -> tunnel_pb2.HostDescribed:
        """Give which backends this host can use, and how many tunnels may be open at once.

        Raises:
            TunnelError: there is no helper to ask.
        """
        return (await self._ask(tunnel_pb2.HelperRequest(host=tunnel_pb2.DescribeHost()))).host

    async def _ask(self, request: tunnel_pb2.HelperRequest) -> tunnel_pb2.HelperEvent:
        """Give the one answer to a request that wants no tunnel."""
        async with self._connected() as (reader, writer):
            writer.write(frames.encode(request))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    event = await anext(_events(reader))
                    if event.WhichOneof("event") == "ended":
                        raise TunnelError(event.ended.failure, event.ended.detail)
                    return event
        raise TunnelError(pb.FAILURE_INTERNAL, "the tunnel helper gives no answer")

    def close(self) -> None:
        """End a helper of our own, and with it every tunnel."""
        if self._child is not None:
            self._child.close()
            self._child = None

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_unix_connection(sock=self._connect(), limit=_BUFFER_BYTES)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _connect(self) -> socket.socket:
        if reason := self.lacks():
            raise TunnelError(pb.FAILURE_PERMISSION, reason)
        if not (self._path and os.access(self._path, os.W_OK)):
            if self._child is None or not self._child.running:
                self.close()
                self._child = _Child(self._arguments or [])
            return self._child.connect()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            detail = f"the tunnel helper does not answer at {self._path}: {error.strerror}"
            raise TunnelError(pb.FAILURE_PERMISSION, detail) from None
        return connection


class _Child:
    """A helper of our own. It gets its connections from us, and ends when this process is gone."""

    def __init__(self, arguments: list[str]) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*_HELPER, "--fd", str(theirs.fileno()), *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            except OSError:  # it ends just now
                ours.close()
                raise TunnelError(pb.FAILURE_INTERNAL, _HUNG_UP) from None
        return ours

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(_GONE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _can_descend() -> bool:
    """Tell whether root here may become another user, as the checks in a box do (user_namespaces(7))."""
    try:
        return Path("/proc/self/setgroups").read_text(encoding="ascii").strip() != "deny"
    except OSError:
        return True


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[tunnel_pb2.HelperEvent]:
    """Give the events of a connection, up to and with the last."""
    while (frame := await frames.read(reader)) is not None:
        event = tunnel_pb2.HelperEvent.FromString(frame)
        yield event
        if event.WhichOneof("event") in ("ended", "described", "host"):
            return
    ended = tunnel_pb2.TunnelEnded(failure=pb.FAILURE_INTERNAL, detail=_HUNG_UP)
    yield tunnel_pb2.HelperEvent(ended=ended)
