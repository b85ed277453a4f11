"""The demo's HTTPS edges."""

from sonde_lab.demo.edges import BODY, Edge, answer


def test_every_nth_answer_is_a_hit() -> None:
    """An edge answers from its cache as often as it is told, and a miss is of age 0."""
    edge = Edge("127.2.0.2", "SIN", delay_ms=0, hit_of=3)
    heads = [answer(edge, request, body=True).decode() for request in range(6)]
    assert ["X-Cache: HIT" in head for head in heads] == [True, False, False, True, False, False]
    assert all("Age: 0\r\n" in head for head in heads if "MISS" in head)


def test_head_has_no_body() -> None:
    """A HEAD request gets the same head and no body."""
    edge = Edge("127.2.0.1", "FRA", delay_ms=0, hit_of=1)
    assert answer(edge, 7, body=True) == answer(edge, 7, body=False) + BODY
