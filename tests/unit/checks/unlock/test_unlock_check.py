"""The unlock check as a whole, against a real platform and real resolvers on loopback."""

import json
import subprocess
import sys
import time

import attrs
import pytest
from support.unlock_stage import HOST, Stage, rule, stage

from sonde_agent.checks.unlock.check import UnlockCheck
from sonde_agent.config import PolicyRules
from sonde_proto.v1 import results_pb2 as pb

__all__ = ["stage"]


async def test_a_verdict_comes_with_what_decided_it(stage: Stage) -> None:
    """Region, level, fidelity, and evidence that a reader can follow: step, host, status, phases."""
    [row] = await stage.run()
    assert (row.verdict, row.scope, row.region) == (pb.VERDICT_AVAILABLE, "full", "GB")
    assert (row.platform, row.rule_version, row.family) == ("acme", "1", 4)
    assert row.level == pb.EVIDENCE_LEVEL_TITLE_PAGE
    assert row.fidelity == pb.FIDELITY_BROWSER_TLS
    assert (row.exchanges, row.failure) == (1, pb.FAILURE_NONE)
    assert row.response_ms > 0
    evidence = json.loads(row.evidence)
    assert evidence["decided"]["host"] == HOST
    assert evidence["decided"]["status"] == 200
    assert evidence["tls"].startswith("chrome")
    assert {"resolve", "connect", "tls", "first_byte"} <= set(evidence["phases"])
    assert "play now" not in json.dumps({**evidence, "decided": None})


async def test_families_are_asked_apart(stage: Stage) -> None:
    """A row each, over its own family; a platform without an IPv6 address is told as that."""
    rows = await stage.run(families=(4, 6))
    assert [(row.family, row.verdict) for row in rows] == [
        (4, pb.VERDICT_AVAILABLE),
        (6, pb.VERDICT_AVAILABLE),
    ]
    assert sorted(seen.address for seen in stage.server.seen) == ["127.0.0.1", "::1"]
    del stage.system[HOST, "AAAA"]
    [_, six] = await stage.run(families=(4, 6))
    assert six.verdict == pb.VERDICT_UNSUPPORTED_FAMILY


async def test_a_name_that_nobody_knows_is_no_word_on_the_platform(stage: Stage) -> None:
    """DNS failures are network errors, in either family."""
    stage.system.clear()
    rows = await stage.run(families=(4, 6))
    assert {row.verdict for row in rows} == {pb.VERDICT_NETWORK_ERROR}
    assert {row.exchanges for row in rows} == {0}


async def test_the_same_addresses_from_both_resolvers_are_native_without_asking_twice(stage: Stage) -> None:
    """Who was asked is the platform itself: one request is enough."""
    [row] = await stage.run()
    assert row.via == pb.VIA_NATIVE
    assert len(stage.server.seen) == 1


async def test_other_addresses_with_the_same_answer_are_native(stage: Stage) -> None:
    """A CDN answers differently by resolver: the verdict decides, asked again at the trusted address."""
    stage.trusted[HOST, "A"] = ["127.0.0.2"]
    [row] = await stage.run()
    assert (row.verdict, row.via) == (pb.VERDICT_AVAILABLE, pb.VIA_NATIVE)
    assert len(stage.server.seen) == 2
    assert json.loads(row.evidence)["pinned"] == {"verdict": "available", "region": "GB"}


@pytest.mark.parametrize(
    ("elsewhere", "via"),
    [
        ((200, {}, b"not here"), pb.VIA_DNS_PROXY),
        ((403, {}, b"no"), pb.VIA_DNS_PROXY),
        ((200, {}, b"something new"), pb.VIA_UNKNOWN),
        ((429, {}, b""), pb.VIA_UNKNOWN),
    ],
)
async def test_what_only_the_tunnels_resolver_gives_is_a_dns_proxy(
    stage: Stage, elsewhere: tuple[int, dict[str, str], bytes], via: pb.Via.ValueType
) -> None:
    """Another verdict at the trusted address tells a proxy; no useful answer there tells nothing."""
    stage.trusted[HOST, "A"] = ["127.0.0.2"]
    stage.server.answers["127.0.0.2/title"] = elsewhere
    [row] = await stage.run()
    assert (row.verdict, row.via) == (pb.VERDICT_AVAILABLE, via)


async def test_without_a_trusted_resolver_via_is_unknown(stage: Stage) -> None:
    """Not configured, or silent: the verdict stands, how it came to be is not said."""
    rules = stage.context.rules
    silent = attrs.evolve(rules, unlock=attrs.evolve(rules.unlock, trusted_resolver_name="other.example"))
    none = attrs.evolve(rules, unlock=attrs.evolve(rules.unlock, trusted_resolver=""))
    for changed in (silent, none):
        [row] = await stage.run(rules=changed)
        assert (row.verdict, row.via) == (pb.VERDICT_AVAILABLE, pb.VIA_UNKNOWN)


async def test_refusals_are_not_asked_twice(stage: Stage) -> None:
    """Only access matters: what is refused costs one request and says nothing of the way."""
    stage.trusted[HOST, "A"] = ["127.0.0.2"]
    stage.says("not here")
    [row] = await stage.run()
    assert (row.verdict, row.via) == (pb.VERDICT_NOT_IN_REGION, pb.VIA_UNKNOWN)
    assert len(stage.server.seen) == 1


async def test_the_policy_judges_name_and_address_before_the_first_packet(stage: Stage) -> None:
    """What it forbids is our own side's row without a verdict, and nothing is sent."""
    [row] = await stage.run(refuse=lambda address, _port: f"{address} is denied")
    assert (row.failure, row.HasField("verdict")) == (pb.FAILURE_POLICY, False)
    assert "127.0.0.1 is denied" in row.detail
    stage.dns_asked.clear()
    [row] = await stage.run(refuse_name=lambda name, _port: f"{name} is denied")
    assert row.failure == pb.FAILURE_POLICY
    assert stage.dns_asked == []
    assert stage.server.connections == 0


async def test_a_rule_may_not_reach_an_address_in_disguise(stage: Stage) -> None:
    """127.0.0.1 as one number goes to the policy as what it is."""
    hostile = rule(stage.server.port)
    hostile["steps"][0]["request"]["url"] = f"https://2130706433:{stage.server.port}/title"
    stage.put_pack(hostile)
    [row] = await stage.run(refuse=lambda address, _port: address if address == "127.0.0.1" else None)
    assert stage.server.connections == 0
    assert row.verdict not in (pb.VERDICT_AVAILABLE, pb.VERDICT_PARTIAL)


async def test_a_429_makes_the_rule_rest_for_that_exit(stage: Stage) -> None:
    """It is stored once; then the slots say until when, and another exit is asked all the same."""
    stage.says("", 429, **{"Retry-After": "120"})
    [row] = await stage.run(target="a")
    assert row.verdict == pb.VERDICT_RATE_LIMITED
    stage.says("play now")
    [held] = await stage.run(target="a")
    assert (held.failure, held.HasField("verdict")) == (pb.FAILURE_LOCAL, False)
    assert held.detail.startswith("backing off until ")
    assert len(stage.server.seen) == 1
    [other] = await stage.run(target="b")
    assert other.verdict == pb.VERDICT_AVAILABLE


async def test_what_the_pack_lacks_is_told(stage: Stage) -> None:
    """An unknown slug and another version are our side's rows; the version asked for is named."""
    rows = await stage.run("acme@1", "acme@2", "other")
    assert [row.failure for row in rows] == [pb.FAILURE_NONE, pb.FAILURE_UNSUPPORTED, pb.FAILURE_UNSUPPORTED]
    assert rows[1].detail == "pack 7 has acme@1, and @2 was asked for"
    assert rows[2].detail == "pack 7 has no rule other"


async def test_a_bad_pack_keeps_the_last_good_one(stage: Stage) -> None:
    """A half-written file costs no run; a host that never had a good one says what is wrong."""
    await stage.run()
    (stage.folder / "rules.pack").write_bytes(b"{}")
    [row] = await stage.run()
    assert row.verdict == pb.VERDICT_AVAILABLE
    stage.check = UnlockCheck()
    [row] = await stage.run()
    assert row.failure == pb.FAILURE_UNSUPPORTED
    assert "no signed pack" in row.detail
    stage.put_pack(rule(stage.server.port, version="2"))
    [row] = await stage.run()
    assert (row.verdict, row.rule_version) == (pb.VERDICT_AVAILABLE, "2")


async def test_a_pack_of_a_stranger_is_refused(stage: Stage) -> None:
    """Only keys of this host's own file count."""
    rules = stage.context.rules
    strangers = attrs.evolve(rules, policy=PolicyRules(rule_keys=("ed25519:" + "A" * 43 + "=",)))
    nobody = attrs.evolve(rules, policy=PolicyRules())
    for changed, words in ((strangers, "not accepted here"), (nobody, "policy.rule_keys")):
        [row] = await stage.run(rules=changed)
        assert row.failure == pb.FAILURE_UNSUPPORTED
        assert words in row.detail
    assert stage.server.connections == 0


async def test_one_thing_at_a_time_at_a_host(stage: Stage) -> None:
    """Ten rules that ask one host ask it one after another, whatever runs beside."""
    stage.put_pack(*(rule(stage.server.port, slug=f"acme-{number}") for number in range(10)))
    rows = await stage.run(*(f"acme-{number}" for number in range(10)))
    assert {row.verdict for row in rows} == {pb.VERDICT_AVAILABLE}
    assert stage.server.most_at_once == 1


async def test_a_run_ends_in_its_time_and_keeps_what_it_has(stage: Stage) -> None:
    """A platform that is silent costs its own row, and the rule behind it at the same host the time."""
    slow = rule(stage.server.port, slug="slow")
    slow["steps"][0]["request"]["url"] = f"https://{HOST}:{stage.server.port}/slow"
    stage.put_pack(rule(stage.server.port), slow)
    began = time.monotonic()
    rows = await stage.run("acme", "slow", timeout_ms=1500)
    assert time.monotonic() - began < 2
    assert [row.verdict for row in rows] == [pb.VERDICT_AVAILABLE, pb.VERDICT_NETWORK_ERROR]


async def test_a_secret_goes_into_requests_alone(stage: Stage) -> None:
    """It reaches the platform, and stands neither in the row nor in what a watcher is told."""
    asking = rule(stage.server.port, secrets={"pass": {}})
    asking["steps"][0]["request"]["headers"] = {"x-pass": "{pass}"}
    stage.put_pack(asking)
    [row] = await stage.run()
    assert row.verdict == pb.VERDICT_NOT_CONFIGURED
    (stage.folder / "secrets").mkdir()
    (stage.folder / "secrets" / "acme.pass").write_text("sesame-open\n")
    told: list[object] = []
    [row] = await stage.run(watch=told.append)
    assert stage.server.seen[-1].headers["x-pass"] == "sesame-open"
    assert row.verdict == pb.VERDICT_AVAILABLE
    assert "sesame" not in row.SerializeToString().decode("utf-8", "replace")
    assert told
    assert "sesame" not in json.dumps(told)


async def test_a_public_exit_is_told_as_its_network(stage: Stage) -> None:
    """No row holds the exit's own address; what is private identifies nobody."""
    for address, shown in (
        ("93.184.216.34", "93.184.216.0/24"),
        ("2606:2800:220:1::1", "2606:2800:220::/48"),
        ("10.1.2.3", "10.1.2.3"),
    ):
        [row] = await stage.run(exit_address=address)
        assert json.loads(row.evidence)["exit"] == shown


def test_without_the_extra_the_rows_say_so() -> None:
    """An agent without it runs everything else; each rule's row names what to install."""
    code = (
        "import sys, asyncio\n"
        "for name in ('sonde_unlock', 're2', 'curl_cffi'): sys.modules[name] = None\n"
        "from sonde_agent.checks.base import Context\n"
        "from sonde_agent.checks.kinds import KINDS\n"
        "from sonde_agent.net.icmp import Engines\n"
        "from sonde_proto.v1 import control_pb2\n"
        "import sonde_agent.app\n"
        "spec = control_pb2.UnlockSpec(rules=[control_pb2.UnlockRule(slug='acme')])\n"
        "task = control_pb2.Task(timeout_ms=5000, unlock=spec)\n"
        "[result] = asyncio.run(KINDS['unlock'].run(task, Context(icmp=Engines())))\n"
        "print(result.unlock.failure, result.unlock.detail)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{pb.FAILURE_UNSUPPORTED} this host lacks what unlock checks need")


def test_a_plain_agent_loads_none_of_it() -> None:
    """Memory of an agent without unlock tasks is what it was."""
    code = (
        "import sys, sonde_agent.app\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('sonde_unlock', 're2', 'curl_cffi')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_without_a_browsers_tls_a_refusal_says_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host without curl_cffi asks by its own TLS, says so, and believes access but no refusal."""
    monkeypatch.setitem(sys.modules, "curl_cffi", None)
    monkeypatch.delitem(sys.modules, "sonde_agent.net.web_browser", raising=False)
    [row] = await stage.run()
    assert (row.verdict, row.fidelity) == (pb.VERDICT_AVAILABLE, pb.FIDELITY_PLAIN_TLS)
    stage.says("no", 403)
    [row] = await stage.run()
    assert (row.verdict, row.fidelity) == (pb.VERDICT_INCONCLUSIVE, pb.FIDELITY_PLAIN_TLS)
