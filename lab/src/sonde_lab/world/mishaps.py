"""What can happen to any platform: behaviours that the lab adds to those of the cassettes. **Pure.**

Pages are made up, each with the one mark that its kind is known by.
"""

from sonde_unlock.cassette import Cassette, Expected, Fault, FaultKind, Matcher, Recorded, Reply
from sonde_unlock.pattern import pattern
from sonde_unlock.verdict import Verdict

_METHODS = ("GET", "POST", "PUT", "HEAD")
_HTML = (("content-type", "text/html; charset=utf-8"),)
_PAGE = "<!doctype html><html><head><title>{}</title></head><body>{}</body></html>"


def _page(title: str, body: str, status: int = 200, *headers: tuple[str, str]) -> Reply:
    return Reply(status, (*_HTML, *headers), _PAGE.format(title, body).encode())


_LONG = _page("A page", "<p>All is as it was.</p>" * 400)

MISHAPS: dict[str, tuple[Reply | Fault, Verdict]] = {
    "lab-timeout": (Fault(FaultKind.TIMEOUT), Verdict.NETWORK_ERROR),
    "lab-reset": (Fault(FaultKind.RESET), Verdict.NETWORK_ERROR),
    "lab-tls-alert": (Fault(FaultKind.TLS_ALERT), Verdict.NETWORK_ERROR),
    "lab-slow-body": (Fault(FaultKind.SLOW_BODY, _LONG), Verdict.NETWORK_ERROR),
    "lab-truncated": (Fault(FaultKind.TRUNCATED, _LONG), Verdict.INCONCLUSIVE),
    "lab-empty": (Reply(200, _HTML), Verdict.INCONCLUSIVE),
    "lab-consent": (
        _page("Before you continue", "<form><button>Accept all</button><button>Reject all</button></form>"),
        Verdict.INCONCLUSIVE,
    ),
    "lab-changed": (_page("Welcome", "<main data-view='start'></main>"), Verdict.INCONCLUSIVE),
    "lab-challenge": (
        _page("Just a moment...", "<div id='challenge-error-text'>Enable JavaScript to continue</div>"),
        Verdict.BLOCKED,
    ),
    "lab-rate-limited": (
        _page("Too many requests", "Later.", 429, ("retry-after", "120")),
        Verdict.RATE_LIMITED,
    ),
}
"""Name → what each host of the platform answers, and what a rule has to make of it."""


def cassettes(slug: str, hosts: frozenset[str]) -> tuple[Cassette, ...]:
    """Give a platform's: each mishap as a behaviour, whatever is asked of these hosts."""
    return tuple(
        Cassette(
            slug=slug,
            behaviour=name,
            country="",
            provenance="synthetic",
            exchanges=tuple(
                Recorded(Matcher(host, method, path_pattern=_ANY), outcome)
                for host in sorted(hosts)
                for method in _METHODS
            ),
            expect=Expected(verdict),
        )
        for name, (outcome, verdict) in MISHAPS.items()
    )


_ANY = pattern(r"(?s).*")
