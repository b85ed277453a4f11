"""Rules as they travel: one file, signed. What it holds is not looked at before its signature is found good.

The file is one line of JSON in one fixed layout: `{"key":…,"pack":…,"signature":…}`, the pack in base64.
It is recognised byte for byte, so that no other spelling of the same passes. Ed25519 (RFC 8032) signs
`CONTEXT` and the pack, which is JSON without blanks, rules in the order of their slugs, their keys as their
authors ordered them: headers go out in that order.
"""

import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sonde_unlock.document import RuleError
from sonde_unlock.lint import lint
from sonde_unlock.model import Rule
from sonde_unlock.parse import parse

SCHEMA = "unlock-pack/1"
CONTEXT = b"sonde unlock pack 1\n"
MAX_BYTES = 4 << 20
MAX_RULES = 300
PREFIX = "ed25519:"
ENVELOPE = re.compile(
    rb'\{"key":"ed25519:([A-Za-z0-9+/]{43}=)","pack":"([A-Za-z0-9+/]+={0,2})","signature":"([A-Za-z0-9+/]{86}==)"\}\n'
)
LABEL = re.compile(r"[0-9A-Za-z][0-9A-Za-z:.+-]{0,39}\Z")


class PackError(Exception):
    """A pack that can't be made or must not be used; one line says why."""


@attrs.frozen
class Pack:
    """An opened pack.

    Attributes:
        version: of the pack.
        created: when it was made, as whoever made it wrote.
        rules: by slug.
        signed_by: the key, `ed25519:BASE64`.
    """

    version: str
    created: str
    rules: Mapping[str, Rule]
    signed_by: str


def build(rules: Sequence[Rule | Mapping[str, Any]], version: str, created: str) -> bytes:
    """Make an unsigned pack of rules, or of plain documents. **Pure.**

    Raises:
        PackError: when a rule can't be read, has problems that `lint` finds, or is there twice.
    """
    for label, text in (("version", version), ("created", created)):
        if not LABEL.match(text):
            raise PackError(f"the {label} {text!r} must be letters, digits, and . : + -, at most 40")
    documents: dict[str, Mapping[str, Any]] = {}
    for given in rules:
        rule = given if isinstance(given, Rule) else _rule(dict(given))
        if problems := lint(rule):
            raise PackError(f"{rule.slug}: {problems[0]}")
        if rule.slug in documents:
            raise PackError(f"{rule.slug} is there twice")
        documents[rule.slug] = rule.document
    if not 0 < len(documents) <= MAX_RULES:
        raise PackError(f"a pack holds 1 to {MAX_RULES} rules")
    ordered = [documents[slug] for slug in sorted(documents)]
    return _canonical({"schema": SCHEMA, "version": version, "created": created, "rules": ordered})


def sign(body: bytes, private_key_pem: bytes) -> bytes:
    """Sign what `build` gave; give the file. **Pure.**

    Raises:
        PackError: when the key is no Ed25519 key without a passphrase, or the file would be too large.
    """
    key = _private(private_key_pem)
    signature = key.sign(CONTEXT + body)
    public = key.public_key().public_bytes_raw()
    file = b'{"key":"%s%s","pack":"%s","signature":"%s"}\n' % (
        PREFIX.encode(),
        *map(base64.b64encode, (public, body, signature)),
    )
    if len(file) > MAX_BYTES:
        raise PackError(f"the pack is larger than {MAX_BYTES} bytes")
    return file


def public_key(private_key_pem: bytes) -> str:
    """Give the public half of a key as configurations write it; raises as `sign`. **Pure.**"""
    return PREFIX + base64.b64encode(_private(private_key_pem).public_key().public_bytes_raw()).decode()


def open_pack(data: bytes, keys: Collection[str]) -> Pack:
    """Open a pack that one of these keys signed. **Pure.**

    Args:
        data: the file.
        keys: `ed25519:BASE64` each.

    Raises:
        PackError: when it is too large, unsigned, altered, of another key, or holds an unreadable rule.
    """
    if len(data) > MAX_BYTES:
        raise PackError(f"the pack is larger than {MAX_BYTES} bytes")
    match = ENVELOPE.fullmatch(data)
    if match is None:
        raise PackError("this is no signed pack: not in the one layout that such a file has")
    public, body, signature = (_decoded(part) for part in match.groups())
    signer = PREFIX + match[1].decode()
    if signer not in keys:
        raise PackError(f"the pack is signed by a key that is not accepted here: {signer}")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, CONTEXT + body)
    except (InvalidSignature, ValueError):
        raise PackError("the pack was altered after it was signed: its signature does not fit") from None
    return _opened(body, signer)


def _opened(body: bytes, signer: str) -> Pack:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or set(content) != {"schema", "version", "created", "rules"}:
        raise PackError("the pack holds no rules in a form that is known")
    if content["schema"] != SCHEMA:
        raise PackError(f"the pack's schema is not {SCHEMA}: use a version of this program that knows it")
    version, created, documents = content["version"], content["created"], content["rules"]
    if not (isinstance(version, str) and isinstance(created, str) and isinstance(documents, list)):
        raise PackError("the pack holds no rules in a form that is known")
    if len(documents) > MAX_RULES:
        raise PackError(f"the pack holds more than {MAX_RULES} rules")
    rules: dict[str, Rule] = {}
    for document in documents:
        rule = _rule(document)
        if rule.slug in rules:
            raise PackError(f"{rule.slug} is there twice")
        rules[rule.slug] = rule
    return Pack(version, created, rules, signer)


def _rule(document: Any) -> Rule:
    try:
        return parse(document, {})
    except RuleError as error:
        slug = document.get("slug") if isinstance(document, dict) else None
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        raise PackError(f"the rule {slug!r:.60} can't be used: {error.problems[0]}{more}") from None


def _canonical(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def _decoded(text: bytes) -> bytes:
    """Decode base64 of which there is only one spelling."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if base64.b64encode(raw) != text:
        raise PackError("this is no signed pack: its base64 is not as encoders write it")
    return raw


def _private(pem: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PackError("the signing key is no private key in PEM without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise PackError("the signing key is no Ed25519 key")
    return key
