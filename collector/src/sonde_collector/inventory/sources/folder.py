"""A folder of profiles, as providers hand them out: one file is one way to one server."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from pathlib import PurePath

from sonde_collector.inventory.model.provider import Source
from sonde_collector.inventory.sources import pattern, place
from sonde_collector.inventory.sources.plain_file import first_bytes
from sonde_collector.inventory.way import Listed, Reading, Way
from sonde_proto.profiles import LARGEST, SUFFIXES, OpenVpn, Profile, ProfileError, WireGuard, parse, values

Progress = Callable[[int, int], None]
_EVERY = 250  # files between two words of progress


def read(provider: str, source: Source, progress: Progress) -> Reading:
    """Read all profiles of a folder; those in folders below it are not its own.

    Raises:
        OSError: the folder can't be read.
    """
    names = sorted(entry.name for entry in source.path.iterdir())
    profiles = [name for name in names if PurePath(name).suffix.lower() in SUFFIXES]
    listed: list[Listed] = []
    bad: list[str] = []
    for i, name in enumerate(profiles):
        if i % _EVERY == 0:
            progress(i, len(profiles))
        if not name.isprintable():
            bad.append(f"{values.quoted(name)}: its name holds characters that can't be printed")
            continue
        try:
            profile = parse(name, first_bytes(source.path / name, LARGEST))
            listed.extend(_listed(provider, source, name, profile))
        except ProfileError as error:
            bad += str(error).splitlines()
        except OSError as error:
            bad.append(f"{name}: can't be read: {error.strerror or error}")
    progress(len(profiles), len(profiles))
    other = tuple(
        name if name.isprintable() else values.quoted(name)
        for name in names
        if PurePath(name).suffix.lower() not in SUFFIXES
    )
    return Reading(provider, source.account, str(source.path), tuple(listed), tuple(bad), other)


def _listed(provider: str, source: Source, name: str, profile: Profile) -> Iterator[Listed]:
    """Give what a file says; nothing where the source does not want its protocol. **Pure**."""
    if source.protocols is not None and profile.protocol not in source.protocols:
        return
    stem = PurePath(name).stem
    country, city, why = _place(stem, source)
    is_address = ":" in profile.host or profile.host.replace(".", "").isdigit()
    yield Listed(
        provider,
        name,
        stem,
        country,
        city,
        None if is_address else profile.host,
        profile.host if is_address else None,
        _way(profile, source.account, name),
        why,
    )


def _place(stem: str, source: Source) -> tuple[str | None, str | None, str]:
    """Give country and city, or why they are not known. **Pure**."""
    found: dict[str, str] = {}
    if source.pattern is not None:
        match = pattern.compiled(source.pattern).fullmatch(stem)
        if match is None:
            return None, None, f'the name does not match pattern "{source.pattern}"'
        found = {name: text for name, text in match.groupdict().items() if text}
    country, city = source.country, source.city
    if country is None:
        country = place.country(found.get("country", ""), source)
        if country is None:
            return None, None, place.unknown_country(found.get("country", ""))
    if city is None:
        text = found.get("city", "")
        try:
            city = place.city(text, source, strict=True)
        except ValueError as error:
            return None, None, str(error)
        if city is None:
            return None, None, f'city "{text}" is not in cities: add {text or "it"} = "…"'
    return country, city, ""


def _way(profile: Profile, account: str, name: str) -> Way:
    settings = profile.settings
    public_key = certificate = ""
    own_key = b""
    if isinstance(settings, WireGuard):
        public_key = base64.b64encode(settings.public_key).decode()
        # Not the key's own identity, which takes a millisecond each to make: enough to count different ones.
        own_key = hashlib.sha256(settings.private_key).digest()[:8] if settings.private_key else b""
    else:
        checked = settings.ca if isinstance(settings, OpenVpn) else settings.remote_id + settings.ca
        certificate = hashlib.sha256(checked.encode()).hexdigest()[:16] if checked else ""
    return Way(
        profile.protocol,
        account,
        name,
        profile.host,
        profile.port,
        public_key,
        certificate,
        own_key=own_key,
    )
