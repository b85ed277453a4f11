"""What the helper makes of a request: typed fields, each held against its own rules, and one file to read.

Nothing that a request says becomes a path beyond one name in one folder, a program, or an option of one.
"""

import errno
import os
import stat
import time
from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen

from sonde_agent.allowance import Cost, beyond_limits, cost_of
from sonde_agent.config import Credential
from sonde_agent.policy import Policy
from sonde_agent.task_bounds import MOST_INSIDE
from sonde_agent.tunnel.backends.base import Secrets
from sonde_agent.tunnel.backends.names import OF_PROTOCOL
from sonde_agent.tunnel.helper_rules import Rules
from sonde_proto import profiles
from sonde_proto.profiles import Profile, ProfileError
from sonde_proto.v1 import control_pb2, tunnel_pb2
from sonde_proto.v1 import results_pb2 as pb

DEFAULT_HANDSHAKE_MS, MOST_HANDSHAKE_MS = 15_000, 120_000
_HTTP_PORT = 80
_USUAL_LOAD = 1_000_000_000  # of a transfer that names no bytes: control.proto
_LARGEST_SECRET = 4096
_LONGEST_SHOWN = 80


class Refused(Exception):
    """The helper won't do it.

    Args:
        failure: POLICY, PROFILE or UNSUPPORTED: always our side's, never the server's.
        detail: one line for a person.
    """

    def __init__(self, failure: pb.Failure.ValueType, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


@frozen
class Order:
    """A request that may be carried out.

    Attributes:
        request: as it came.
        profile: where to, and how.
        secrets: of its account.
        backends: names to choose from, the best first; empty = any.
    """

    request: tunnel_pb2.OpenTunnel
    profile: Profile
    secrets: Secrets = field(repr=False)
    backends: tuple[str, ...]


def judge(request: tunnel_pb2.OpenTunnel, rules: Rules) -> Order:
    """Give what is to be done for `request`. Reads the profile and the account's secrets.

    Raises:
        Refused: the rules forbid it, or the profile can't be used.
    """
    policy = Policy(rules.policy, time.time_ns() // 1000)
    _judge_what_is_asked(request, rules, policy)
    backends = (request.backend,) if request.backend else rules.tunnels.backends
    credential = _credential(request.credential, rules)
    profile = _profile(credential, request.profile, request.place if request.HasField("place") else None)
    reason = policy.refuse_host(profile.host, profile.port)
    if reason is not None:
        raise Refused(pb.FAILURE_POLICY, f"the server {profile.host}: {reason}")
    if request.backend and request.backend not in OF_PROTOCOL[profile.protocol]:
        detail = f"no backend {_shown(request.backend)} speaks {profile.protocol}"
        raise Refused(pb.FAILURE_UNSUPPORTED, detail)
    return Order(request, profile, _secrets(credential), backends)


def describe(request: tunnel_pb2.DescribeProfile, rules: Rules) -> tunnel_pb2.Described:
    """Give what a profile may be known by. Reads it.

    Raises:
        Refused: there is none, or it can't be used.
    """
    profile = _profile(_credential(request.credential, rules), request.profile, None)
    return tunnel_pb2.Described(
        protocol=profile.protocol, host=profile.host, port=profile.port, key_id=profiles.key_id(profile)
    )


def _judge_what_is_asked(request: tunnel_pb2.OpenTunnel, rules: Rules, policy: Policy) -> None:
    if "connection" not in rules.policy.checks:
        raise Refused(pb.FAILURE_POLICY, 'policy.checks does not hold "connection"')
    if request.handshake_ms > MOST_HANDSHAKE_MS:
        raise Refused(pb.FAILURE_POLICY, f"handshake_ms is beyond {MOST_HANDSHAKE_MS}")
    if request.family not in (0, 4, 6):
        raise Refused(pb.FAILURE_POLICY, f"there is no family {request.family}: 4, 6, or 0 for any")
    backends = rules.tunnels.backends
    if request.backend and backends and request.backend not in backends:
        raise Refused(pb.FAILURE_POLICY, f"tunnels.backends does not hold {_shown(request.backend)}")
    if len(request.inside) > MOST_INSIDE:
        raise Refused(pb.FAILURE_POLICY, f"{len(request.inside)} tasks are more than {MOST_INSIDE}")
    for task in request.inside:
        reason = policy.refuse_inside(task) or _refuse_time(task)
        if reason is not None:
            raise Refused(pb.FAILURE_POLICY, f"task {_shown(task.key)}: {reason}")
    if reason := _refuse_amount(request, rules):
        raise Refused(pb.FAILURE_POLICY, reason)
    if request.exit_url and (reason := _refuse_exit_url(request.exit_url, policy)) is not None:
        raise Refused(pb.FAILURE_POLICY, f"exit_url: {reason}")


def _refuse_amount(request: tunnel_pb2.OpenTunnel, rules: Rules) -> str | None:
    """Why one tunnel may not move so much. What many tunnels move together, the agent counts."""
    loads = [task.throughput for task in request.inside if task.HasField("throughput")]
    asked = sum(load.max_bytes or _USUAL_LOAD for load in loads)
    if asked > rules.limits.throughput_day:
        return f"limits.throughput_day: one tunnel is to move {asked} bytes"
    return beyond_limits(sum(map(cost_of, request.inside), Cost()), rules.limits)


def _refuse_time(task: control_pb2.Task) -> str | None:
    return None if task.timeout_ms else "timeout_ms must be at least 1"


def _refuse_exit_url(url: str, policy: Policy) -> str | None:
    """Why the exit's address may not be asked of `url`, in words; None = it may."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _HTTP_PORT
    except ValueError:
        host, port = "", 0
    if not host or parts.scheme != "http":
        return f"{_shown(url)} is no http:// URL"
    return policy.refuse_host(host, port)


def _credential(name: str, rules: Rules) -> Credential:
    if name not in rules.credential:
        raise Refused(pb.FAILURE_PROFILE, f"the helper's configuration has no [credential.{_shown(name)}]")
    return rules.credential[name]


def _profile(credential: Credential, name: str, at: control_pb2.Place | None) -> Profile:
    folder = credential.profiles
    if at is not None or not name:
        if credential.template is None:
            raise Refused(pb.FAILURE_PROFILE, "the credential has no template for servers out of a list")
        if name not in ("", credential.template.name):
            raise Refused(pb.FAILURE_PROFILE, f"the credential's template is not {_shown(name)}")
        folder, name = credential.template.parent, credential.template.name
    if folder is None:
        raise Refused(pb.FAILURE_PROFILE, "the credential names no folder of profiles")
    try:
        data = read_within(folder, name, profiles.LARGEST)
        profile = profiles.parse(name, data)
        return profile if at is None else _placed(profile, at)
    except ProfileError as error:
        raise Refused(pb.FAILURE_PROFILE, str(error).splitlines()[0]) from None
    except OSError as error:
        raise Refused(pb.FAILURE_PROFILE, f"{_shown(name)}: {error.strerror or error}") from None


def _placed(profile: Profile, at: control_pb2.Place) -> Profile:
    return profiles.place(profile, at.host, at.port, at.public_key, at.server_name)


def _secrets(credential: Credential) -> Secrets:
    return Secrets(
        _secret(credential.username_file, "username_file"), _secret(credential.password_file, "password_file")
    )


def _secret(file: Path | None, key: str) -> str:
    if file is None:
        return ""
    try:
        text = read_within(file.parent, file.name, _LARGEST_SECRET).decode()
    except OSError as error:
        raise Refused(pb.FAILURE_PROFILE, f"{key}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise Refused(pb.FAILURE_PROFILE, f"{key}: is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


def read_within(folder: Path, name: str, most: int) -> bytes:
    """Give what the plain file `name` directly in `folder` holds.

    Raises:
        OSError: it is not there, is no plain file (a link, pipe or device is never followed or opened for
            good), has more than `most` bytes, or `name` is not one name.
    """
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise OSError("a profile is named by its file's name alone")
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        fd = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError("is a link; put the file itself there") from None
        raise
    finally:
        os.close(directory)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("is no plain file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(most + 1)
    finally:
        os.close(fd)
    if len(data) > most:
        raise OSError(f"has more than {most} bytes")
    return data


def _shown(text: str) -> str:
    """Give foreign text for a line of a log: bounded, and without what moves a cursor."""
    shown = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return '"' + shown.encode("unicode_escape").decode("ascii") + '"'
