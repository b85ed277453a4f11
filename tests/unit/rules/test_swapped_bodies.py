"""A page that is not the platform's own is never a yes: a challenge, nothing, a half, another language."""

from collections.abc import Callable

import attrs
import pytest
from support.unlock_marks import counted
from support.unlock_rules import every_cassette, name_of, play

from sonde_unlock.cassette import Cassette
from sonde_unlock.exchange import Error, Exchange
from sonde_unlock.verdict import Verdict

OFFERED = (Verdict.AVAILABLE, Verdict.PARTIAL)
HTML = (("content-type", "text/html; charset=utf-8"),)
PAGES = {
    "cloudflare": b"<html><title>Just a moment...</title><script>window._cf_chl_opt={}</script></html>",
    "akamai": b"<html><head><title>Access Denied</title></head><body>Reference #18.2</body></html>",
    "datadome": b'<html><script src="https://ct.captcha-delivery.com/c.js"></script></html>',
    "google": b"<html><body>We detected unusual traffic from your computer network.</body></html>",
    "unknown-challenge": b"<html><body><p>Prove that you are human, then go on.</p></body></html>",
    "consent": b'<html lang="de"><title>Bevor Sie fortfahren</title><form>Alle akzeptieren</form></html>',
    "japanese": "<html lang='ja'><title>この動画は視聴できません</title></html>".encode(),
    "captive-portal": b'<html><title>Hotel WiFi</title><form>Room <input name="room"></form></html>',
    "json": b'{"message":"OK","status":"success","available":true}',
    "empty": b"",
}


def _has_page(exchange: Exchange) -> bool:
    return exchange.status == 200 and exchange.body != b""


CASES = [one for one in every_cassette() if one.expect.verdict in OFFERED]
PAGED = [one for one in CASES if any(map(_has_page, play(one).trace))]
"""Without those that rest on a redirect or a cookie and have no page."""


def _page(page: bytes) -> Callable[[Exchange], Exchange]:
    def swapped(exchange: Exchange) -> Exchange:
        if not _has_page(exchange):
            return exchange
        kept = tuple(
            pair for pair in exchange.headers if pair[0] not in ("content-type", "set-cookie", "location")
        )
        return attrs.evolve(exchange, body=page, headers=(*HTML, *kept))

    return swapped


def _cut(exchange: Exchange) -> Exchange:
    return (
        attrs.evolve(exchange, body=exchange.body[:-1], truncated=True) if _has_page(exchange) else exchange
    )


def _error(kind: Error) -> Callable[[Exchange], Exchange]:
    return lambda exchange: Exchange(exchange.request, error=kind)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("cassette", PAGED, ids=name_of)
def test_another_page_for_every_200_is_no_offer(cassette: Cassette, page: str) -> None:
    """Whatever is offered rests on the page itself."""
    judgement = play(cassette, counted(_page(PAGES[page])))
    assert judgement.verdict not in OFFERED, judgement.detail


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("cassette", CASES, ids=name_of)
def test_another_page_in_one_place_never_turns_an_offer_into_a_refusal(cassette: Cassette, page: str) -> None:
    """One page swapped: the same offer by what is left, or nothing that the rule's list says."""
    for number in range(1, len(play(cassette).trace) + 1):
        judgement = play(cassette, counted(_page(PAGES[page]), number))
        assert judgement.decided.by == 0 or judgement.verdict is cassette.expect.verdict, judgement.detail


@pytest.mark.parametrize("cassette", PAGED, ids=name_of)
def test_a_page_of_which_the_last_byte_is_missing_is_no_offer(cassette: Cassette) -> None:
    """What was cut is never read as whole."""
    judgement = play(cassette, counted(_cut))
    assert judgement.verdict not in OFFERED, judgement.detail


@pytest.mark.parametrize("kind", Error)
@pytest.mark.parametrize("cassette", CASES, ids=name_of)
def test_an_answer_that_did_not_come_is_no_verdict_of_the_list(cassette: Cassette, kind: Error) -> None:
    """All answers missing: our network's trouble. One missing: the same offer, or none."""
    everywhere = play(cassette, counted(_error(kind)))
    assert everywhere.verdict is Verdict.NETWORK_ERROR or kind is Error.NO_ADDRESS
    for number in range(1, len(play(cassette).trace) + 1):
        judgement = play(cassette, counted(_error(kind), number))
        assert judgement.decided.by == 0 or judgement.verdict is cassette.expect.verdict, judgement.detail
