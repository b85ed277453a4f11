"""Who asks the helper, and as whom the checks inside a box run."""

import os
import pwd
import socket
import struct

from attrs import frozen

_UCRED = struct.Struct("3i")


@frozen
class User:
    """A user without privilege beyond these ids."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def named(name: str) -> User:
    """Give the user of that name, with all its groups.

    Raises:
        LookupError: there is none.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LookupError(f'there is no user "{name}"') from None
    return User(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))


def peer_uid(connection: socket.socket) -> int:
    """Give the uid of who connected, as the kernel saw it then."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(credentials)[1]
    return uid
