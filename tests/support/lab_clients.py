"""The protocols' own programs as clients, at a vantage of the lab: what a customer would run."""

import base64
import json
from pathlib import Path
from subprocess import CompletedProcess

from sonde_lab.lab import Lab

_WIREGUARD = r"""
set -e
device=t$$
wireguard-go -f $device >/dev/null 2>&1 & go=$!
trap 'kill $go; ip netns del box$$ 2>/dev/null' EXIT
while ! [ -S /run/wireguard/$device.sock ]; do sleep 0.01; done
ip netns add box$$
ip link set $device netns box$$
grep -vE '^(Address|DNS)' "$1" | wg setconf $device /dev/stdin
for address in $(sed -n 's/^Address = //p' "$1" | tr , ' '); do
  ip -n box$$ addr add $address dev $device
done
ip -n box$$ link set lo up
ip -n box$$ link set $device mtu 1420 up
ip -n box$$ route add default dev $device
ip -n box$$ route add ::/0 dev $device
set +e
for _ in $(seq 100); do
  handshake=$(wg show $device latest-handshakes | cut -f2)
  [ "$handshake" != 0 ] && break
  sleep 0.01
done
[ "$handshake" != 0 ] || exit 0
echo handshake
nsenter --net=/run/netns/box$$ sh -c "$2" 2>&1
true
"""

_IKE = """
charon-systemd {
  load = random nonce openssl curve25519 pem pkcs1 pkcs8 x509 pubkey constraints kdf hmac sha1 sha2 md5 aes \
gcm kernel-libipsec kernel-netlink socket-default vici eap-identity eap-mschapv2 drbg
  install_virtual_ip_on = ipsec0
  filelog { stderr { default = 1 } }
  plugins {
    vici { socket = unix://CONTROL }
    kernel-libipsec { load = yes }
    kernel-netlink { fwmark = 0x77 }
  }
}
"""


def wireguard(lab: Lab, vantage: str, profile: Path, commands: str = "true") -> str:
    """Gives "handshake" if there was one within a second, and what shell `commands` then say inside."""
    done = lab.run(vantage, ["bash", "-c", _WIREGUARD, "wireguard", profile, commands])
    assert done.returncode == 0, done.stderr
    return done.stdout


def openvpn(lab: Lab, vantage: str, profile: Path, credential: str, folder: Path) -> str:
    """Gives what OpenVPN says until it is connected, or gives up."""
    secrets = [lab.folder / "secrets" / f"{credential}.{part}" for part in ("username", "password")]
    account = folder / "account"
    account.write_text("".join(file.read_text() for file in secrets))
    script = (
        'timeout 10 openvpn --config "$1" --auth-user-pass "$2" --dev null --ifconfig-noexec --route-noexec'
        " --connect-retry-max 1 --connect-timeout 3 --explicit-exit-notify 1 2>/dev/null |"
        " sed '/Initialization Sequence Completed/q'"
    )
    if "proto tcp" in profile.read_text():
        script = script.replace(" --explicit-exit-notify 1", "")
    return lab.run(vantage, ["bash", "-c", script, "openvpn", profile, account]).stdout


def ikev2(lab: Lab, vantage: str, profile: Path, credential: str, folder: Path) -> CompletedProcess[str]:
    """Gives how `swanctl --initiate` ended and what it said; the connection ends with it."""
    said = json.loads(profile.read_text())
    user, password = (
        (lab.folder / "secrets" / f"{credential}.{part}").read_text().strip()
        for part in ("username", "password")
    )
    control = folder / "vici"
    (folder / "strongswan.conf").write_text(_IKE.replace("CONTROL", str(control)))
    for part in ("conf.d", "x509ca"):
        (folder / part).mkdir()
    (folder / "x509ca" / "ca.der").write_bytes(base64.b64decode(said["remote"]["cert"]))
    (folder / "swanctl.conf").write_text(f"""
connections {{ c {{
  version = 2
  remote_addrs = {said["remote"]["addr"]}
  vips = 0.0.0.0, ::
  mobike = no
  encap = yes
  proposals = {said["ike-proposal"]}
  local {{ auth = eap
    eap_id = {user} }}
  remote {{ auth = pubkey
    id = {said["remote"]["id"]} }}
  children {{ net {{ remote_ts = 0.0.0.0/0, ::/0
    esp_proposals = {said["esp-proposal"]} }} }}
}} }}
secrets {{ eap {{ id = {user}
  secret = {password} }} }}
""")
    script = f"""
export STRONGSWAN_CONF={folder}/strongswan.conf SWANCTL_DIR={folder}
charon-systemd 2>{folder}/charon.log & charon=$!
trap 'kill $charon; wait' EXIT
while ! [ -S {control} ]; do sleep 0.01; done
swanctl --load-all --uri unix://{control} >/dev/null 2>{folder}/load.log || cat {folder}/load.log
swanctl --initiate --child net --timeout 8 --uri unix://{control}
"""
    return lab.run(vantage, ["bash", "-c", script])
