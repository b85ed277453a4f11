"""What an operator has blocked: why, until when, and that agent and box agree on it."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.addresses import parse_address
from sonde_agent.blocks import Block, Blocked
from sonde_agent.config import PolicyRules
from sonde_agent.policy import Policy
from sonde_agent.tunnel.fence import fence_of
from sonde_agent.tunnel.helper_rules import Rules, policy_of
from sonde_proto import toml_config
from sonde_proto.v1 import control_pb2

END = dt.datetime(2027, 6, 30, tzinfo=dt.UTC)
END_US = int(END.timestamp()) * 1_000_000


def rules(*blocks: Block) -> PolicyRules:
    """A policy with those blocks."""
    return PolicyRules(block=blocks)


def ping(host: str, target: str = "t") -> control_pb2.Task:
    """An assigned ping."""
    return control_pb2.Task(key="k", target=target, ping=control_pb2.PingSpec(host=host))


def test_a_refusal_says_why_and_until_when() -> None:
    """The collector reads the reason, and when it may ask again."""
    policy = Policy(rules(Block("*.example.net", "ticket 7", END), Block("bank", "not ours")), END_US - 1)
    told = 'policy.block holds "*.example.net" until 2027-06-30T00:00:00Z: ticket 7'
    assert policy.refuse_task(ping("a.b.EXAMPLE.net.")) == told
    assert policy.refuse_host("www.example.net", 443) == told
    assert policy.refuse_task(ping("192.0.2.1", target="Bank")) == 'policy.block holds "bank": not ours'
    assert policy.refuse_task(ping("example.net")) is None


def test_a_block_ends_by_itself() -> None:
    """Until its end everything of it is refused, from then on nothing; a clock stepped back blocks again."""
    policy = Policy(rules(Block("203.0.113.0/24", "ticket 7", END)), END_US - 1)
    assert policy.refuse_address("203.0.113.9", 443) is not None
    assert policy.stands(0)
    assert policy.stands(END_US - 1)
    assert not policy.stands(END_US)
    after = policy.at(END_US)
    assert after.refuse_address("203.0.113.9", 443) is None
    assert after.stands(END_US + 10**15)
    assert not after.stands(END_US - 1)
    assert after.at(END_US - 1).refuse_address("203.0.113.9", 443) is not None


@pytest.mark.parametrize(
    "spelling",
    [
        "203.0.113.9", "3405803785", "0xcb.0.0x71.011", "0xcb007109", "203.28937", "::ffff:203.0.113.9",
        "::203.0.113.9", "64:ff9b::203.0.113.9", "2002:cb00:7109::1", "::ffff:0:203.0.113.9",
        "\uff12\uff10\uff13.0.113.9",
    ],
)  # fmt: skip
def test_a_blocked_network_is_blocked_in_every_spelling(spelling: str) -> None:
    """Blocked outranks allowed, however the address is written."""
    blocked = PolicyRules(
        block=(Block("203.0.113.0/24", "ticket 7"),),
        allow=tuple(toml_config.parse({"allow": ["0.0.0.0/0", "::/0"]}, PolicyRules).allow),
    )
    reason = Policy(blocked).refuse_task(ping(spelling))
    assert reason is not None
    assert "ticket 7" in reason


@pytest.mark.parametrize("name", ["bücher.example", "BÜCHER.example.", "xn--bcher-kva.example"])
def test_a_name_is_blocked_in_every_spelling(name: str) -> None:
    """A name outside ASCII and what travels for it are one."""
    for entry in ("bücher.example", "xn--bcher-kva.example"):
        assert Policy(rules(Block(entry, "why"))).refuse_task(ping(name)) is not None


MOMENTS = st.integers(946_684_800, 4_102_444_800).map(lambda s: dt.datetime.fromtimestamp(s, dt.UTC))
BLOCKS = st.lists(
    st.builds(
        Block,
        st.sampled_from(["a.example", "*.b.example", "192.0.2.0/24", "2001:db8::/32", "203.0.113.7"]),
        st.just("why"),
        st.none() | MOMENTS,
    ),
    max_size=6,
)
PLACES = st.sampled_from(
    ["a.example", "x.b.example", "192.0.2.9", "203.0.113.7", "2001:db8::1", "c.example", "198.51.100.1"]
)


@given(BLOCKS, MOMENTS, PLACES)
def test_agent_helper_and_box_judge_alike(blocks: list[Block], now: dt.datetime, place: str) -> None:
    """What the agent refuses at a moment the box's own copy refuses too; networks, the fence."""
    made, now_us = rules(*blocks), int(now.timestamp() * 1e6)
    agent = Policy(made, now_us).refuse_host(place, 443)
    box = Policy(policy_of(Rules(policy=made).policy_document()), now_us).refuse_host(place, 443)
    assert agent == box
    brute = any(
        (block.until is None or now < block.until) and place in _covered(block.target) for block in blocks
    )
    assert (agent is not None) == brute
    if (address := parse_address(place)) is not None:
        fenced = any(address in network for network in fence_of(made, now_us).never)
        assert fenced == brute


def _covered(target: str) -> set[str]:
    """Which of the places an entry covers, by hand."""
    return {
        "a.example": {"a.example"},
        "*.b.example": {"x.b.example"},
        "192.0.2.0/24": {"192.0.2.9"},
        "2001:db8::/32": {"2001:db8::1"},
        "203.0.113.7": {"203.0.113.7"},
    }[target]


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "2001:db8::/200", "192.0.2.0/", "1.2.3.4.5"])
def test_a_slip_in_a_network_is_told_and_not_taken_for_a_name(entry: str) -> None:
    """A network that is none would block nothing, and nobody would know."""
    document: dict[str, Any] = {"block": [{"target": entry, "reason": "x"}], "deny_targets": [entry]}
    with pytest.raises(toml_config.ConfigError) as caught:
        toml_config.parse(document, PolicyRules)
    assert len(caught.value.messages) == 2


def test_nothing_is_blocked_by_nothing() -> None:
    """Without entries no name and no address is refused."""
    assert Blocked((), ()).name("") is None
    assert Blocked((), ()).networks == ()
