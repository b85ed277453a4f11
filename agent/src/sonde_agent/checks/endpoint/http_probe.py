"""One HTTP/1.1 exchange after another, hop by hop over redirects. Blocks: it belongs in a worker thread."""

from sonde_agent.checks.endpoint import expect, local_files
from sonde_agent.checks.endpoint.cache import cache_age_s, cache_status, point_of_presence
from sonde_agent.checks.endpoint.failures import Trouble
from sonde_agent.checks.endpoint.http1 import Answer, NotHttp, request
from sonde_agent.checks.endpoint.probe import Probe
from sonde_agent.checks.endpoint.pure import Redirect, Url, next_hop, parse_url
from sonde_agent.net import resolve, stamps
from sonde_agent.net.dial import FIRST_READ_BYTES, READ_BYTES, TlsWire, Wire
from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2 as pb

DEFAULT_MAX_BODY = 1_048_576
MAX_REDIRECTS = 20  # as browsers do; it bounds the row
_HOP_URL = 512  # characters of a hop's URL that the row keeps


class HttpProbe(Probe):
    """One request, and those that its redirects ask for; each on a connection of its own.

    HTTP/1.1 only, and ALPN says so: a server that speaks HTTP/2 alone fails with its alert.
    """

    def _prepare(self) -> None:
        if self._spec.url.lower().startswith("https:"):
            self._tls = local_files.tls_context(self._spec)

    def _measure(self, address: str) -> None:
        spec = self._spec
        url = first = parse_url(spec.url)
        method = spec.method or "GET"
        while True:
            self._hops.append({"url": str(url)[:_HOP_URL]})
            if len(self._hops) > 1:
                address = self._address_of(url, first)
            answer = self._exchange(url, method, address, same_origin=url.origin == first.origin)
            hop = (
                next_hop(url, method, answer.status, answer.headers.get("location"))
                if spec.max_redirects
                else None
            )
            if hop is None:
                break
            url, method = self._follow(hop), hop.method
        out = self._out
        out.http_version, out.body_bytes = answer.version, answer.body_bytes
        self._tell_cache(answer)
        self._mismatch = expect.http_mismatch(spec.expect, answer.status, answer.headers, answer.body)
        if self._mismatch is None:
            self._check_certificate()

    def _follow(self, hop: Redirect) -> Url:
        if hop.url is None:
            raise Trouble(pb.FAILURE_EXPECTATION, hop.refusal, pb.STAGE_EXPECT)
        most = min(self._spec.max_redirects, MAX_REDIRECTS)
        if len(self._hops) > most:
            words = f"more than {most} redirects; the next would be {hop.url}"
            raise Trouble(pb.FAILURE_EXPECTATION, words[:_HOP_URL], pb.STAGE_EXPECT)
        return hop.url

    def _address_of(self, url: Url, first: Url) -> str:
        """Where a later hop connects to: the edge under test while the host stays, else the name's first."""
        self._stage = pb.STAGE_RESOLVE
        if url.host == first.host and (self._spec.connect_to or self._spec.every_address):
            return self._out.address
        if reason := self._context.refuse_name(url.host, url.port):
            raise Trouble(pb.FAILURE_POLICY, reason)
        found = resolve.resolve(url.host, self._spec.family, self._deadline)
        self._took("resolve_ms", found.took)
        return found.addresses[0]

    def _tell_cache(self, answer: Answer) -> None:
        out = self._out
        if (status := cache_status(answer.headers)) is not None:
            out.cache_status = status
        if (age := cache_age_s(answer.headers)) is not None:
            out.cache_age_s = age
        if (pop := point_of_presence(answer.headers)) is not None:
            out.pop = pop

    def _exchange(self, url: Url, method: str, address: str, *, same_origin: bool) -> Answer:
        """One request and its answer. `sni`, `host` and headers from files go to their own origin only."""
        spec, wants = self._spec, self._spec.expect
        headers = {
            "Host": (spec.host if same_origin else "") or url.authority,
            "User-Agent": "sonde",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        if same_origin:
            for name, value in local_files.header_values(spec).items():
                headers.pop(name.title(), None)  # a plan's own User-Agent or Accept stands for ours
                headers[name] = value
        if method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = "0"
        try:
            data = request(method, url.target, headers)
        except ValueError as error:
            raise Trouble(pb.FAILURE_LOCAL, str(error), pb.STAGE_NONE) from None
        answer = Answer(
            method,
            spec.max_body_bytes or DEFAULT_MAX_BODY,
            keep=bool(wants.body_contains or wants.body_regex),
        )
        hop = self._hops[-1]
        hop["address"] = address
        with self._connected(address, url.port) as wire:
            secure = url.scheme == "https"
            stream = self._secured(wire, (spec.sni if same_origin else "") or url.host) if secure else wire
            self._stage = pb.STAGE_FIRST_BYTE
            stream.send(data)
            try:
                self._read(wire, stream, answer)
            except NotHttp as error:
                raise Trouble(pb.FAILURE_PROTOCOL, str(error)) from None
            except EOFError as error:
                raise Trouble(pb.FAILURE_RESET, f"{error}: the peer closed the connection") from None
        hop["status"] = self._out.status = answer.status
        return answer

    def _read(self, wire: Wire, stream: Wire | TlsWire, answer: Answer) -> None:
        chunk = stream.receive(FIRST_READ_BYTES)
        first = wire.received
        if chunk:
            self._took("first_byte_ms", stamps.interval(wire.settle(), first))
            self._stage = pb.STAGE_TRANSFER
        while chunk:
            answer.feed(chunk)
            if answer.done:
                break
            chunk = stream.receive(READ_BYTES)
        else:
            answer.end()
        self._took("transfer_ms", stamps.interval(first, wire.received))
        if answer.capped:
            self._quality |= Quality.BODY_CAPPED
