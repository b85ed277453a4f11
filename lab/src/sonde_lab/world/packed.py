"""The shipped rules as a pack, signed by a key that is made for it and forgotten."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sonde_rules import RULES
from sonde_unlock import pack
from sonde_unlock.reading import read_rule


def write(file: Path, *, enabled: bool) -> str:
    """Write the pack; give the public key that it is believed by.

    Args:
        file: the pack's.
        enabled: only the rules that are; else all.

    Raises:
        RuleError: a rule is malformed.
    """
    rules = [read_rule(path.read_text(), path.name) for path in sorted(RULES.glob("*.yaml"))]
    chosen = [rule for rule in rules if rule.enabled or not enabled]
    newest = max(rule.version for rule in chosen)
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(pack.sign(pack.build(chosen, version=newest, created=newest), key))
    return pack.public_key(key)
