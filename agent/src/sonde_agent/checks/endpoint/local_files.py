"""What a plan names by file on this agent: certificate authorities, client certificates, header values."""

import ssl
from functools import lru_cache
from pathlib import Path

from sonde_agent.checks.endpoint.failures import Trouble
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

MAX_HEADER_BYTES = 16_384
ALPN = ("http/1.1",)


def _changed_ns(path: str) -> int:
    """When a file last changed: a renewed certificate is read again, an unchanged one never."""
    if not path:
        return 0
    try:
        return Path(path).stat().st_mtime_ns
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: OSError | ValueError) -> Trouble:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Trouble(pb.FAILURE_LOCAL, f"file {path} on this agent: {why}", pb.STAGE_NONE)


def tls_context(spec: control_pb2.EndpointSpec) -> ssl.SSLContext:
    """The settings of a TLS client, shared by all checks that ask for the same: reading CAs takes 20 ms.

    Raises:
        Trouble: FAILURE_LOCAL when a file is missing or holds no certificate or key.
    """
    files = (spec.ca_file, spec.client_cert_file, spec.client_key_file)
    changed = tuple(_changed_ns(path) for path in files)
    http = spec.kind == pb.ENDPOINT_KIND_HTTP
    return _tls_context(*files, changed, insecure=spec.expect.insecure, http=http)


@lru_cache(maxsize=32)
def _tls_context(
    ca: str, certificate: str, key: str, _changed: tuple[int, ...], *, insecure: bool, http: bool
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise _unreadable(ca, ValueError("it holds no PEM certificate")) from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if http:
        context.set_alpn_protocols(list(ALPN))
    if certificate:
        try:
            context.load_cert_chain(
                certificate, key or None, password=""
            )  # a key with a passphrase must fail, not ask
        except (OSError, ssl.SSLError) as error:
            raise _unreadable(certificate, ValueError("it does not fit its key, or is no PEM")) from error
    return context


def header_values(spec: control_pb2.EndpointSpec) -> dict[str, str]:
    """The headers whose values lie in files here, read at each run: tokens are renewed.

    Raises:
        Trouble: FAILURE_LOCAL when one can't be read.
    """
    values = {}
    for name, path in sorted(spec.header_files.items()):
        try:
            value = Path(path).read_bytes()[: MAX_HEADER_BYTES + 1].decode("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(path, error) from None
        if len(value) > MAX_HEADER_BYTES:
            raise _unreadable(path, ValueError(f"longer than {MAX_HEADER_BYTES} bytes, for a header"))
        values[name] = value
    return values
