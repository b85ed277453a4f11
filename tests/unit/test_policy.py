"""What an agent may touch, whatever the collector asks."""

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.addresses import parse_address
from sonde_agent.config import Network, PolicyRules
from sonde_agent.policy import DENIED, Policy
from sonde_proto.v1 import control_pb2, results_pb2


def networks(*texts: str) -> tuple[Network, ...]:
    """Networks as the file gives them."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def ping(host: str, target: str = "t") -> control_pb2.Task:
    """An assigned ping."""
    return control_pb2.Task(key="k", target=target, ping=control_pb2.PingSpec(host=host))


def endpoint(kind: str, url: str, **more: Any) -> control_pb2.Task:
    """An assigned endpoint check."""
    number = results_pb2.EndpointKind.Value(f"ENDPOINT_KIND_{kind}")
    return control_pb2.Task(
        key="k", target="t", endpoint=control_pb2.EndpointSpec(kind=number, url=url, **more)
    )


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.1", "127.0.0.1.", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1",
        "017700000001", "::1", "[::1]", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1",
        "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "10.1.2.3", "192.168.0.1",
        "172.31.255.255", "100.64.0.1", "169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00::1",
        "224.0.0.1", "ff02::1", "0.0.0.0", "::", "255.255.255.255", "::ffff:10.0.0.1",
    ],
)  # fmt: skip
def test_this_host_and_private_networks_are_denied_in_every_spelling(address: str) -> None:
    """No way to write such an address passes, as a task or just before connecting."""
    policy = Policy(PolicyRules())
    assert policy.refuse_address(address, None) is not None
    assert policy.refuse_task(ping(address)) is not None
    host = f"[{address.strip('[]')}]" if ":" in address else address
    assert policy.refuse_task(endpoint("HTTP", f"http://{host}/")) is not None
    assert policy.refuse_task(endpoint("TCP", f"{host}:443")) is not None
    assert policy.refuse_task(endpoint("TLS", "example.com:443", connect_to=[host])) is not None


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "8.8.8.8", "2001:db8::1", "2606:4700::1", "64:ff9b::808:808"]
)
def test_public_addresses_pass(address: str) -> None:
    """What the world reaches may be measured."""
    policy = Policy(PolicyRules())
    assert policy.refuse_address(address, 443) is None
    assert policy.refuse_task(ping(address)) is None


def test_allow_wins_over_deny_and_over_the_built_in_list() -> None:
    """A network in allow is open even inside a denied one; its surroundings stay denied."""
    policy = Policy(PolicyRules(deny=networks("192.0.2.0/24"), allow=networks("192.0.2.7/32", "127.0.0.0/8")))
    assert policy.refuse_address("192.0.2.7", None) is None
    assert policy.refuse_address("127.1", None) is None
    assert policy.refuse_address("::ffff:127.0.0.1", None) is None
    assert "192.0.2.0/24" in (policy.refuse_address("192.0.2.8", None) or "")
    assert policy.refuse_address("::1", None) is not None


def test_deny_targets_outrank_allow() -> None:
    """A target named there is never touched: by key, name, name below a domain, address or network."""
    rules = PolicyRules(
        deny_targets=("key-1", "Bank.example", "*.gov.example", "192.0.2.1", "198.51.100.0/24"),
        allow=networks("0.0.0.0/0"),
    )
    policy = Policy(rules)
    assert policy.refuse_task(ping("192.0.2.9", target="key-1")) is not None
    for host in (
        "bank.example",
        "BANK.example.",
        "a.gov.example",
        "a.b.GOV.example",
        "192.0.2.1",
        "198.51.100.77",
    ):
        assert policy.refuse_task(ping(host)) is not None, host
        assert policy.refuse_task(endpoint("HTTP", f"https://{host}/x")) is not None, host
    for host in ("notbank.example", "x.bank.example", "gov.example", "192.0.2.2"):
        assert policy.refuse_task(ping(host)) is None, host
    assert policy.refuse_task(endpoint("TLS", "192.0.2.9:443", sni="bank.example")) is not None
    assert policy.refuse_task(endpoint("HTTP", "http://192.0.2.9/", host="bank.example:80")) is not None
    assert policy.refuse_task(endpoint("DNS", "bank.example", dns_server="192.0.2.9")) is not None


def test_ports_are_held_for_every_place_that_a_task_names() -> None:
    """With a list of ports, no other is connected to; ping has none."""
    policy = Policy(PolicyRules(ports=(443,)))
    assert policy.refuse_task(endpoint("HTTP", "https://example.com/")) is None
    assert policy.refuse_task(endpoint("HTTP", "http://example.com/")) == "policy.ports does not hold 80"
    assert policy.refuse_task(endpoint("HTTP", "https://example.com:8443/")) is not None
    assert policy.refuse_task(endpoint("TCP", "example.com:22")) is not None
    assert policy.refuse_task(endpoint("TLS", "example.com:443", connect_to=["192.0.2.1:22"])) is not None
    assert policy.refuse_task(endpoint("DNS", "example.com", dns_server="192.0.2.1")) is not None
    assert policy.refuse_address("192.0.2.1", 22) is not None
    assert policy.refuse_task(ping("example.com")) is None


def test_only_the_kinds_of_the_file_run() -> None:
    """A kind that the file leaves out, and one that this agent does not know, is refused."""
    policy = Policy(PolicyRules(checks=("endpoint",)))
    assert policy.refuse_task(ping("192.0.2.1")) == 'policy.checks does not hold "ping"'
    assert policy.refuse_task(control_pb2.Task(key="k")) is not None


def test_a_rule_may_be_denied_by_its_slug() -> None:
    """Unlock tasks name no hosts: kind and slugs are judged, directly and in a tunnel; names when asked."""
    task = control_pb2.Task(key="k", timeout_ms=1000)
    task.unlock.rules.add(slug="netflix")
    task.unlock.rules.add(slug="hulu")
    assert Policy(PolicyRules()).refuse_task(task) is None
    denied = Policy(PolicyRules(deny_targets=("hulu", "*.example.net")))
    assert denied.refuse_task(task) == 'policy.deny_targets holds "hulu"'
    inside = control_pb2.Task(key="t", connection=control_pb2.ConnectionSpec(inside=[task]))
    assert denied.refuse_task(inside) == 'inside the tunnel: policy.deny_targets holds "hulu"'
    assert denied.refuse_host("www.example.net", 443) is not None
    refused = Policy(PolicyRules(checks=("ping",))).refuse_task(task)
    assert refused == 'policy.checks does not hold "unlock"'


def test_a_task_can_not_name_files_of_its_own_choice() -> None:
    """A collector that asks to send /etc/shadow as a header is refused; the directory of the file is open."""
    policy = Policy(PolicyRules(files=(Path("/etc/sonde/files"),)))
    url = "https://example.com/"
    for file in ("/etc/shadow", "/etc/sonde/files/../../shadow", "relative", "/etc/sonde/files2/x"):
        assert "policy.files" in (policy.refuse_task(endpoint("HTTP", url, header_files={"x": file})) or "")
        assert policy.refuse_task(endpoint("HTTP", url, client_key_file=file)) is not None
    assert policy.refuse_task(endpoint("HTTP", url, header_files={"x": "/etc/sonde/files/token"})) is None


@pytest.mark.parametrize(
    "task",
    [
        ping(""), ping("a b"), ping("a/b"), endpoint("HTTP", "ftp://example.com/"), endpoint("HTTP", "http:///"),
        endpoint("TCP", "example.com"), endpoint("TCP", "example.com:99999"), endpoint("HTTP", "http://[::1/"),
        endpoint("HTTP", "http://user@exa mple/"),
    ],
)  # fmt: skip
def test_a_target_that_makes_no_sense_is_refused_in_words(task: control_pb2.Task) -> None:
    """It is a line for a person, never an exception."""
    assert "no target" in (Policy(PolicyRules()).refuse_task(task) or "")


@given(st.ip_addresses())
def test_judgement_is_that_of_the_lists(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """An address in a denied network never passes, however it came; allow of all opens all."""
    refused = Policy(PolicyRules()).refuse_address(str(address), None) is not None
    assert refused or not any(address in network for network in DENIED)
    assert Policy(PolicyRules(allow=networks("0.0.0.0/0", "::/0"))).refuse_address(str(address), None) is None


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_name(text: str) -> None:
    """No spelling makes the judgement fail."""
    parse_address(text)
    reason = Policy(PolicyRules()).refuse_task(ping(text))
    assert reason is None or reason
    Policy(PolicyRules()).refuse_task(endpoint("HTTP", f"http://{text}/"))
    Policy(PolicyRules()).refuse_task(endpoint("TCP", text, connect_to=[text], sni=text, host=text))


def tunnel(*inside: control_pb2.Task, **fields: str) -> control_pb2.Task:
    """A connection task."""
    task = control_pb2.Task(key="k", target="se1")
    task.connection.inside.extend(inside)
    for name, value in fields.items():
        setattr(task.connection, name, value)
    task.connection.credential = "acme"
    return task


def load(**fields: str | int) -> control_pb2.Task:
    """A throughput task."""
    task = control_pb2.Task(key="k", target="t")
    for name, value in fields.items():
        setattr(task.throughput, name, value)
    task.throughput.download = True
    return task


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (load(url="http://10.0.0.1/1g"), "10.0.0.0/8"),
        (load(url="http://example.com/1g", upload_url="https://127.1/put"), "127.0.0.0/8"),
        (load(engine=results_pb2.ENGINE_IPERF3, server="192.168.0.9:5201"), "192.168.0.0/16"),
        (load(engine=results_pb2.ENGINE_NDT7, url="wss://169.254.169.254/"), "169.254.0.0/16"),
        (load(url="ftp://example.com/1g"), "no target"),
        (tunnel(direct_host="10.0.0.1"), "10.0.0.0/8"),
        (tunnel(exit_url="http://10.0.0.1/ip"), "10.0.0.0/8"),
        (tunnel(exit_url="https://example.com/ip"), "no target"),
        (tunnel(ping("10.0.0.1")), "inside the tunnel"),
        (tunnel(load(url="http://10.0.0.1/")), "inside the tunnel"),
        (tunnel(endpoint("HTTP", "http://127.0.0.1/")), "inside the tunnel"),
        (tunnel(tunnel()), "no tunnel opens in a tunnel"),
    ],
)
def test_tunnels_and_loads_are_judged_with_all_in_them(task: control_pb2.Task, words: str) -> None:
    """Wherever a task names a denied place, inside a tunnel too, it is refused in words."""
    assert words in (Policy(PolicyRules()).refuse_task(task) or "")


def test_what_a_tunnel_usually_does_is_allowed() -> None:
    """The gateway, a page, a transfer and an exit URL of the world pass; a server out of a list is judged."""
    usual = tunnel(
        ping(""), endpoint("HTTP", "https://example.com/"), load(url="http://example.com/1g"),
        exit_url="http://example.com/ip",
    )  # fmt: skip
    assert Policy(PolicyRules()).refuse_task(usual) is None
    only_direct = Policy(PolicyRules(checks=("connection", "ping")))
    assert only_direct.refuse_task(tunnel(ping(""))) is None
    assert "throughput" in (only_direct.refuse_task(usual) or "") or "endpoint" in (
        only_direct.refuse_task(usual) or ""
    )
    usual.connection.place.host = "10.1.2.3"
    assert "10.0.0.0/8" in (Policy(PolicyRules()).refuse_task(usual) or "")
