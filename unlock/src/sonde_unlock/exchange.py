"""What a rule asks and what comes back: the seam between rules and whatever carries requests."""

from collections.abc import Mapping
from enum import StrEnum

import attrs


class Error(StrEnum):
    """Why there is no answer. DNS and our own side never become a verdict about the exit."""

    DNS = "dns"
    NO_ADDRESS = "no_address"
    """The name has no address of the family asked for."""
    TIMEOUT = "timeout"
    REFUSED = "refused"
    RESET = "reset"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    CERTIFICATE = "certificate"
    PROTOCOL = "protocol"
    POLICY = "policy"
    """This host's own policy forbids the address."""


@attrs.frozen
class Request:
    """One request, one hop: redirects are the engine's business, cookies too.

    Attributes:
        step: id of the step that asks.
        method: upper case.
        url: absolute, http or https.
        headers: in order; names as the rule has them. The transport adds what its profile implies.
        body: as it goes out.
        profile: "browser" (browser TLS and headers), "android" or "plain".
        max_body: bytes of the body to read at most.
        timeout_s: for the whole hop.
    """

    step: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    profile: str = "plain"
    max_body: int = 3_000_000
    timeout_s: float = 10.0


@attrs.frozen
class Exchange:
    """A request, and what became of it.

    Attributes:
        request: what was asked.
        status: 100..599; 0 = no answer, `error` says why.
        headers: in the order in which they came; names in lower case.
        body: at most `request.max_body` bytes, decoded from its content coding.
        truncated: there was more.
        error: "" = an answer came.
        detail: of an error, for a person.
        elapsed_ms: from start to the last byte read.
        phases: name -> ms: resolve, connect, tls, first_byte, transfer; what was not measured is absent.
        address: that was connected to.
        http_version: "1.1", "2", "3", or "".
        tls_version: "TLSv1.3", or "".
    """

    request: Request
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = attrs.field(default=b"", repr=False)
    truncated: bool = False
    error: Error | None = None
    detail: str = ""
    elapsed_ms: float = 0.0
    phases: Mapping[str, float] = attrs.Factory(dict)
    address: str = ""
    http_version: str = ""
    tls_version: str = ""

    def header(self, name: str) -> str:
        """Give the first header of that lower-case name; "" = there is none."""
        return next((value for key, value in self.headers if key == name), "")
