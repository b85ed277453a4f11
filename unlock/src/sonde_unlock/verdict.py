"""What a rule makes of an exit. The words are those of `sonde.v1.results`, in lower case."""

from enum import StrEnum

import attrs

from sonde_unlock.exchange import Exchange


class Verdict(StrEnum):
    """There is no default among them: what nothing recognises is INCONCLUSIVE."""

    AVAILABLE = "available"
    PARTIAL = "partial"
    NOT_IN_REGION = "not_in_region"
    PROXY_DETECTED = "proxy_detected"
    BLOCKED = "blocked"
    RATE_LIMITED = "rate_limited"
    UNSUPPORTED_FAMILY = "unsupported_family"
    NETWORK_ERROR = "network_error"
    INCONCLUSIVE = "inconclusive"
    NOT_CONFIGURED = "not_configured"


class Level(StrEnum):
    """What the evidence of a rule is, weakest first."""

    GEO_API = "geo-api"
    TITLE_PAGE = "title-page"
    ANONYMOUS_SESSION = "anonymous-session"
    PLAYBACK = "playback"


@attrs.frozen
class Decided:
    """What a verdict rests on.

    Attributes:
        by: number of the entry in the rule's `verdicts`, from 1; 0 = an engine guard.
        step: id of the step whose answer decided; "" = none.
        marker: what was looked for, as the rule has it, or the guard's name.
        host: whom that step asked.
        status: its HTTP status; 0 = none.
    """

    by: int
    step: str
    marker: str
    host: str = ""
    status: int = 0


@attrs.frozen
class Judgement:
    """The verdict of one rule over one family.

    Attributes:
        verdict, scope, region: see `sonde.v1.results.Unlock`; "" = unknown.
        decided: why.
        detail: the same for a person; at most 200 characters, scrubbed.
        trace: every hop that was asked, in order.
        retry_after_s: of RATE_LIMITED, what the platform asked for; 0 = it said nothing.
    """

    verdict: Verdict
    scope: str
    region: str
    decided: Decided
    detail: str
    trace: tuple[Exchange, ...] = attrs.field(repr=False)
    retry_after_s: float = 0.0
