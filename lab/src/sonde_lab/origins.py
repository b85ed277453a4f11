"""What stands behind the tunnels: web servers, places to measure speed against, and a host to ping."""

import sys
from pathlib import Path

from sonde_lab import certificates
from sonde_lab.programs import Programs
from sonde_lab.topology import ORIGIN, ORIGIN_ADDRESSES

BYTES = 16 << 30
"""Size of /bytes [bytes]: more than any bounded run takes; the file is sparse, so it costs no disk."""
IPERF3_PORTS = (5201, 5202, 5203, 5204)
"""One run at a time each."""
_SINK = "/run/lab/sink.sock"
_PLACES = ("origin", "edge", "reference")
"""Whom nginx plays; the other addresses are others' business."""


def nginx_configuration(folder: Path) -> str:
    """Give nginx's. **Pure.**

    Args:
        folder: of its own; holds tls/ and www/.
    """
    listen = "".join(
        f"    listen {v4}:{port}{extra};\n    listen [{v6}]:{port}{extra};\n"
        for v4, v6 in map(ORIGIN_ADDRESSES.__getitem__, _PLACES)
        for port, extra in ((80, ""), (443, " ssl http2"))
    )
    return f"""\
daemon off;
user root;
worker_processes 1;
pid /run/lab/nginx.pid;
error_log stderr error;
events {{ worker_connections 512; }}
http {{
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  sendfile_max_chunk 512k;
  tcp_nodelay on;
  keepalive_timeout 60s;
  keepalive_requests 100000;
  server_tokens off;
  client_body_temp_path /run/lab/body;
  proxy_temp_path /run/lab/proxy;
  fastcgi_temp_path /run/lab/fastcgi;
  uwsgi_temp_path /run/lab/uwsgi;
  scgi_temp_path /run/lab/scgi;
  server {{
{listen}    ssl_certificate {folder}/tls/server.pem;
    ssl_certificate_key {folder}/tls/server.key;
    location = /ip {{
      default_type text/plain;
      add_header Cache-Control no-store;
      return 200 "$remote_addr\\n";
    }}
    location = / {{ default_type text/plain; return 200 "Sonde lab\\n"; }}
    location = /bytes {{ root {folder}/www; }}
    location = /upload {{
      client_max_body_size 0;
      proxy_request_buffering off;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass http://unix:{_SINK};
    }}
  }}
}}
"""


def start(folder: Path, programs: Programs) -> None:
    """Start them.

    Args:
        folder: the lab's.
        programs: takes them.

    Raises:
        LabError: one does not start.
    """
    own = folder / "origin"
    for part in ("tls", "www"):
        (own / part).mkdir(parents=True, exist_ok=True)
    addresses = [address for pair in ORIGIN_ADDRESSES.values() for address in pair]
    certificates.write(own / "tls", [*(f"{name}.example" for name in _PLACES), *addresses])
    with (own / "www" / "bytes").open("wb") as file:
        file.truncate(BYTES)
    (own / "nginx.conf").write_text(nginx_configuration(own))
    programs.start("sink", ORIGIN, [sys.executable, "-m", "sonde_lab.sink", _SINK])
    for port in IPERF3_PORTS:
        programs.start(f"iperf3-{port}", ORIGIN, ["iperf3", "--server", "--port", str(port)])
    programs.start("nginx", ORIGIN, ["nginx", "-c", own / "nginx.conf", "-e", "stderr"])
    programs.wait(Path("/run/lab/nginx.pid").exists, name="nginx")
    programs.wait(Path(_SINK).exists, name="sink")
