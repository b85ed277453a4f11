"""What the engine knows by itself: which pages are challenges, and where no answer may send us."""

import re
from urllib.parse import SplitResult, urlsplit

from sonde_unlock.exchange import Exchange
from sonde_unlock.pattern import pattern

DOMAIN = re.compile(r"(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])\Z")
MAX_URL = 8000
MAX_CHALLENGE_BYTES = 400_000
"""A challenge page is small; what is larger is a page that mentions one."""
DEFAULT_PORTS = {"http": 80, "https": 443}

# Each is a text that the challenge itself needs, or its title: pages that merely load a vendor's script pass.
_TITLE = r"(?i)<title>\s*"
CHALLENGES = tuple(
    (name, pattern("|".join(texts)))
    for name, *texts in (
        ("cloudflare", _TITLE + r"(just a moment|attention required! \||please wait\.\.\. \| cloudflare)"),
        ("cloudflare", r"window\._cf_chl_opt", r"/cdn-cgi/challenge-platform/h/[a-z]/orchestrate"),
        ("cloudflare", r"id=.challenge-error-text"),
        ("akamai", _TITLE + r"access denied\s*</title>", r"sec-if-cpt-container", r"/_sec/cp_challenge/"),
        ("datadome", r"(?i)\b(geo|ct)\.captcha-delivery\.com", r"<title>\s*you have been blocked"),
        ("perimeterx", r"(?i)px-captcha", r"<title>\s*access to this page has been denied"),
        ("imperva", r"(?i)_Incapsula_Resource[^<]{0,400}incident", r"<title>\s*pardon our interruption"),
        ("awswaf", r"(?i)token\.awswaf\.com/[^<]{0,200}challenge\.js", r"<title>\s*human verification"),
        ("google", r"(?i)unusual traffic from your computer network"),
        ("captcha", _TITLE + r"(captcha|verify you are human|robot check|security check)\s*</title>"),
        ("wait", _TITLE + r"(please wait\.\.\.|one moment, please|checking your browser)[^<]{0,60}</title>"),
    )
)
CHALLENGE_HEADERS = (
    ("cloudflare", "cf-mitigated", "challenge"),
    ("awswaf", "x-amzn-waf-action", "challenge"),
    ("awswaf", "x-amzn-waf-action", "captcha"),
)


def challenge(exchange: Exchange) -> str:
    """Name the challenge that an answer is; "" = none that is known. **Pure.**"""
    for name, header, value in CHALLENGE_HEADERS:
        if exchange.header(header).strip().lower() == value:
            return name
    if not exchange.body or len(exchange.body) > MAX_CHALLENGE_BYTES:
        return ""
    if "json" in exchange.header("content-type").lower():
        return ""
    return next((name for name, known in CHALLENGES if known.search(exchange.body)), "")


def split(url: str) -> SplitResult | None:
    """Take a URL apart; None = it is none. **Pure.**"""
    if len(url) > MAX_URL or not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
        return None
    if "\\" in url:  # a browser reads it as a slash, so that two readers see two hosts
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def refused(url: str, allowed: tuple[str, ...]) -> str:
    """Say why an address that an answer gave may not be asked; "" = it may. **Pure.**

    Args:
        url: absolute.
        allowed: domain names; the host must be one of them or below. () = any name.
    """
    parts = split(url)
    if parts is None:
        return "it is no usable URL"
    host = parts.hostname or ""
    objections = {
        "it is neither http nor https": parts.scheme not in DEFAULT_PORTS,
        "it holds a user name": "@" in parts.netloc,
        "it names a port": parts.port not in (None, DEFAULT_PORTS.get(parts.scheme)),
        "its host is no domain name": not DOMAIN.match(host),
        f"its host is not among {', '.join(allowed)}": bool(allowed) and not below(host, allowed),
    }
    return next((reason for reason, holds in objections.items() if holds), "")


def below(host: str, domains: tuple[str, ...]) -> bool:
    """Whether a host is one of these domains, or below one. **Pure.**"""
    return any(host == domain or host.endswith("." + domain) for domain in domains)


def host_of(url: str) -> str:
    """Give the host of a URL in lower case; "" = it has none. **Pure.**"""
    parts = split(url)
    return (parts.hostname or "") if parts else ""


def retry_after_s(exchange: Exchange) -> float:
    """Give what Retry-After asks for in seconds; 0 = nothing, or a date. **Pure.**"""
    text = exchange.header("retry-after").strip()
    return float(min(int(text), 7 * 86400)) if re.fullmatch(r"[0-9]{1,9}", text) else 0.0
