"""Unlock checks in a box: the helper's own file says which rules there are, whoever asks."""

import json
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support import wireguard
from support.boxes import Host, wanted
from support.unlock_stage import rule

from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb
from sonde_unlock import pack

_LACK = wireguard.missing()
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("host"),
    pytest.mark.skipif(_LACK is not None, reason=f"tunnels: {_LACK}"),
]
KEY = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
FILE = f"""[policy]
rule_keys = ["{pack.public_key(KEY)}"]
deny_targets = ["forbidden"]
[unlock]
pack = "rules.pack"
trusted_resolver = ""
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A helper whose file names a pack."""
    with (
        wireguard.provider(tmp_path_factory.mktemp("provider")) as provider,
        Host(provider, FILE) as made,
    ):
        content = {"schema": pack.SCHEMA, "version": "7", "created": "2026-11-21", "rules": [rule(443)]}
        (made.folder / "rules.pack").write_bytes(pack.sign(json.dumps(content).encode(), KEY))
        yield made


def unlock(*slugs: str) -> control_pb2.Task:
    """A task for inside."""
    spec = control_pb2.UnlockSpec(rules=[control_pb2.UnlockRule(slug=slug) for slug in slugs])
    return control_pb2.Task(key="u", target="se", timeout_ms=15_000, unlock=spec)


def test_the_checks_inside_use_the_pack_that_the_helper_names(host: Host) -> None:
    """As a user without rights, in the tunnel: the rule is known by its version; no resolver answers here."""
    told = [event.result.unlock for event in host.ask(wanted(inside=[unlock("acme", "other")]))
            if event.WhichOneof("event") == "result"]  # fmt: skip
    assert [(row.platform, row.rule_version) for row in told] == [("acme", "1"), ("other", "")]
    assert told[0].verdict == pb.VERDICT_NETWORK_ERROR
    assert (told[1].failure, told[1].detail) == (pb.FAILURE_UNSUPPORTED, "pack 7 has no rule other")


def test_a_slug_that_the_helper_denies_opens_no_tunnel(host: Host) -> None:
    """The agent may be taken over: its helper's own list still holds."""
    [event] = host.ask(wanted(inside=[unlock("forbidden")]))
    assert event.ended.failure == pb.FAILURE_POLICY
    assert 'deny_targets holds "forbidden"' in event.ended.detail
