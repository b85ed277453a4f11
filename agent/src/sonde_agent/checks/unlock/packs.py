"""The pack of rules on this host: read when it changes, and the last good one kept when it goes bad."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sonde_agent.tunnel.helper_rules import Rules

if TYPE_CHECKING:
    from sonde_unlock.pack import Pack

_LARGEST = 8_000_000
_Changed = tuple[int, int, int]

log = structlog.get_logger()


class NoPack(Exception):
    """There are no rules on this host; the text says why and how to mend it."""


class Packs:
    """The pack that this host believes, for many runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[Path, tuple[str, ...], bool], tuple[_Changed | None, Pack | None, str]] = {}

    def current(self, rules: Rules) -> Pack:
        """Give the pack as it is now; reads it again when time, size or inode changed. Blocks.

        Raises:
            NoPack: there is none, and there never was a good one.
        """
        path, keys = rules.unlock.pack, rules.policy.rule_keys
        with self._lock:
            name = (path, keys, rules.unsigned)
            changed, pack, mistake = self._known.get(name, (None, None, ""))
            try:
                now = _changed(path)
                if now != changed or (pack is None and not mistake):
                    changed, pack, mistake = now, open_pack(path, keys, unsigned=rules.unsigned), ""
            except NoPack as none:
                if str(none) != mistake:
                    log.warning("pack_unusable", reason=str(none), kept=pack.version if pack else "")
                mistake = str(none)
            self._known[name] = changed, pack, mistake
        if pack is None:
            raise NoPack(mistake)
        return pack


def open_pack(path: Path, keys: tuple[str, ...], *, unsigned: bool = False) -> Pack:
    """Read the pack at `path`.

    Raises:
        NoPack: it can't be read, or is not to be believed.
    """
    from sonde_unlock import pack  # noqa: PLC0415 -- only agents with the extra have it

    if not keys and not unsigned:
        raise NoPack("policy.rule_keys names nobody who may write rules for this agent")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise NoPack(f"{path}: {error.strerror or error}") from None
    try:
        return _open_any(data) if unsigned else pack.open_pack(data, keys)
    except pack.PackError as error:
        raise NoPack(f"{path}: {error}") from None


def _open_any(data: bytes) -> Pack:
    """Open a pack of any author, or one that nobody signed; an altered one is still refused."""
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 -- by hand alone
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 -- as above
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    from sonde_unlock import pack  # noqa: PLC0415 -- as above

    if (signed := pack.ENVELOPE.fullmatch(data)) is not None:
        return pack.open_pack(data, [pack.PREFIX + signed[1].decode()])
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pack.open_pack(pack.sign(data, pem), [pack.public_key(pem)])


def _changed(path: Path) -> _Changed:
    try:
        status = os.stat(path)  # noqa: PTH116 -- as Path's, without its own exception texts
    except OSError as error:
        raise NoPack(f"{path}: {error.strerror or error}") from None
    return status.st_mtime_ns, status.st_ino, status.st_size
