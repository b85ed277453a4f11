"""The files a new rule begins with. What an author must put in is REPLACE_ME, which lint finds. **Pure**."""

import json
import re
from urllib.parse import parse_qsl, urlsplit

from sonde_unlock.document import Problem
from sonde_unlock.parse import SLUG

PLACEHOLDER = "REPLACE_ME"
_LONGEST_SLUG = 60
_MARKED = re.compile(rf"{PLACEHOLDER}(?:_([A-Z0-9_]+))?")
_WHAT = {
    "AVAILABLE": "what the page has only where the platform is offered, such as the player's own data",
    "NOT_IN_REGION": "what the page has only where the platform is not offered",
    "SHOWS": "what the answer shows, in a sentence for a person",
    "CANNOT_SHOW": "what it can't show, such as a refusal at playback",
    "SOURCE": "where the facts are from: a page, a repository and its commit, an observation of your own",
    "REGION": "the country that it is offered in, or a capture of what the platform says",
}


def mistake_of_slug(slug: str) -> str:
    """Say what is wrong with a slug; "" = nothing."""
    if len(slug) > _LONGEST_SLUG or not SLUG.fullmatch(slug):
        return f'"{slug}": a slug is small letters and digits, "-" between, at most {_LONGEST_SLUG}'
    return ""


def mistake_of_url(url: str) -> str:
    """Say what is wrong with the address that a rule begins with; "" = nothing."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and not parts.username
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or set(url) & set(" {}\"'\\"):
        return f'"{url}": must be a URL such as "https://www.example.com/watch/1"'
    return ""


def placeholders(text: str) -> list[Problem]:
    """Give what of a scaffold is still to be replaced, by line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#"):
            found += [
                Problem(number, f"{match[0]}: put here {_WHAT.get(match[1] or '', 'what belongs here')}")
                for match in _MARKED.finditer(line)
            ]
    return found


def rule(slug: str, name: str, url: str, today: str) -> str:
    """Give the text of a rule that asks one page.

    Args:
        slug: of the platform; see `mistake_of_slug`.
        name: as people know it.
        url: of a page that only subscribers' countries can see, best of a title; see `mistake_of_url`.
        today: YYYY-MM-DD.
    """
    return f"""\
# {name}: what a visitor without an account is shown. unlock/README.md explains every key.
schema: unlock-rule/1
slug: {slug}
name: {json.dumps(name, ensure_ascii=False)}
version: "{today}"
checked_on: "{today}"
confirmed_live: null
enabled: false
provenance:
  - {{source: "{PLACEHOLDER}_SOURCE", date: "{today}"}}
confidence: low
evidence:
  level: title-page
  shows: "{PLACEHOLDER}_SHOWS"
  cannot_show: "{PLACEHOLDER}_CANNOT_SHOW"
families: {{v4: expected, v6: unknown}}
client:
  profile: browser
  headers: {{accept-language: "en-US,en;q=0.9"}}
steps:
  - id: page
    request: {{method: GET, url: "{url}", follow: 5}}
verdicts:
  # The first entry that holds decides; when none does, the verdict is inconclusive.
  - when: [{{any_of: page, status: 200, body: "{PLACEHOLDER}_AVAILABLE"}}]
    verdict: available
    scope: full
  - when: [{{any_of: page, body: "{PLACEHOLDER}_NOT_IN_REGION"}}]
    verdict: not_in_region
"""


def cassettes(slug: str, url: str, today: str) -> str:
    """Give the text of cassettes for what `rule` gives: offered, not offered, and a page that changed."""
    parts = urlsplit(url)
    match = {"host": parts.hostname or "", "path": parts.path or "/"}
    query = (
        f", query: {json.dumps(dict(parse_qsl(parts.query, keep_blank_values=True)))}" if parts.query else ""
    )
    match_text = f"{{host: {match['host']}, path: {json.dumps(match['path'])}{query}}}"
    return f"""\
# Answers of {slug} to try the rule on: what its page says, cut down to what matters; nobody's cookie,
# token or address. synthetic = written by hand, from-tool-source = as another tool's source says,
# recorded = by `sonde-collector rules record`.
schema: unlock-cassettes/1
slug: {slug}
provenance: synthetic
captured_at: "{today}"
rule_version: "{today}"
cassettes:
  # country: of the exit that sees it; without one the lab plays it to everybody (cassettes/world.yaml).
  - behaviour: offered
    country: GB
    exchanges:
      - match: {match_text}
        reply:
          status: 200
          text: |
            <html><body>{PLACEHOLDER}_AVAILABLE</body></html>
    expect: {{verdict: available, scope: full}}
  - behaviour: not-in-region
    exchanges:
      - match: {match_text}
        reply:
          status: 200
          text: |
            <html><body>{PLACEHOLDER}_NOT_IN_REGION</body></html>
    expect: {{verdict: not_in_region}}
  - behaviour: changed-page
    exchanges:
      - match: {match_text}
        reply:
          status: 200
          text: |
            <html><body>Something that the rule does not know.</body></html>
    expect: {{verdict: inconclusive}}
"""
