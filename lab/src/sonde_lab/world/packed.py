"""The shipped rules as a pack, signed by a key that is made for it and forgotten."""

from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sonde_rules import RULES
from sonde_unlock import pack
from sonde_unlock.model import Rule
from sonde_unlock.reading import read_rule


def write(file: Path, *, enabled: bool) -> str:
    """Write the pack; give the public key that it is believed by.

    Args:
        file: the pack's.
        enabled: only the rules that are; else all.

    Raises:
        RuleError: a rule is malformed.
    """
    chosen = [rule for rule in _shipped() if rule.enabled or not enabled]
    newest = max(rule.version for rule in chosen)
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(pack.sign(pack.build(chosen, version=newest, created=newest), key))
    return pack.public_key(key)


def enabled_slugs() -> tuple[str, ...]:
    """Give the platforms whose rules are on."""
    return tuple(rule.slug for rule in _shipped() if rule.enabled)


@cache
def _shipped() -> tuple[Rule, ...]:
    return tuple(read_rule(path.read_text(), path.name) for path in sorted(RULES.glob("*.yaml")))
