"""Which packages of requirements.lock one distribution needs, with all that they need in turn."""

import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = frozenset(
    canonicalize_name(f"sonde-{member}")
    for member in ("proto", "unlock", "rules", "agent", "collector", "lab")
)


def closure(wanted: str, environment: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """Give our own distributions and the foreign ones that `wanted` needs.

    What needs what is read from the packages that are installed beside this Python, as the lock pins them.

    Args:
        wanted: a requirement, such as "sonde-agent[unlock]".
        environment: the markers of the Python that is packaged for (PEP 508).

    Returns:
        Canonical names, `wanted` itself among ours.
    """
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(wanted)]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            marked = {**default_environment(), **environment, "extra": extra}
            for line in metadata.requires(name) or ():
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate(marked):
                    waiting.append(needed)
    names = {name for name, _ in seen}
    return names & OURS, names - OURS


def locked(lock: Path) -> dict[str, str]:
    """Give each pin of `lock` with its hashes, as pip reads it: name -> "name==version --hash=…"."""
    return {canonicalize_name(line.split("==")[0]): line for line in _logical_lines(lock.read_text())}


def _logical_lines(text: str) -> Iterator[str]:
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        if line and not line.startswith("#"):
            yield line.strip()
