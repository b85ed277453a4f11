"""When an account counts as refused, by what its runs say."""

import datetime as dt
import itertools

from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.control.credentials import SERVERS, Standing

T0 = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)

# A run: when it began, on which server, whether it was let in.
runs = st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abcde"), st.booleans()), max_size=10)


def at(minute: int) -> dt.datetime:
    """Give a time."""
    return T0 + dt.timedelta(minutes=minute)


def weigh(told: list[tuple[int, str, bool]]) -> Standing:
    """Tell the runs one after another."""
    standing = Standing()
    for minute, server, connected in told:
        standing = standing.let_in(at(minute)) if connected else standing.turned_away(server, at(minute))
    return standing


def test_three_different_servers_in_a_row_make_a_refusal() -> None:
    """The third server that turns the account away makes it refused, and not the second."""
    assert not weigh([(1, "a", False), (2, "b", False)]).refused
    assert weigh([(1, "a", False), (2, "b", False), (3, "c", False)]).refused


def test_one_server_alone_never_does() -> None:
    """However often one server turns the account away, that is the server's fault."""
    assert not weigh([(minute, "a", False) for minute in range(50)]).refused


def test_a_success_between_begins_anew() -> None:
    """Two failures, a success, two failures: not refused."""
    told = [(1, "a", False), (2, "b", False), (3, "c", True), (4, "d", False), (5, "e", False)]
    assert not weigh(told).refused


def test_a_long_run_that_ends_late_proves_nothing_new() -> None:
    """A run that was let in before three were turned away does not clear them by ending after them."""
    assert weigh([(2, "a", False), (3, "b", False), (4, "c", False), (1, "d", True)]).refused


@given(runs)
def test_what_counts_are_the_servers_since_the_newest_success(told: list[tuple[int, str, bool]]) -> None:
    """The standing is that of the definition, worked out from all runs at once."""
    good = max((minute for minute, _, connected in told if connected), default=None)
    servers = {
        server for minute, server, connected in told if not connected and (good is None or minute > good)
    }
    standing = weigh(told)
    assert standing.failures.keys() == servers
    assert standing.refused == (len(servers) >= SERVERS)
    assert standing.known_good == (None if good is None else at(good))


@given(runs.filter(lambda told: len(told) <= 5))
def test_the_order_of_telling_does_not_matter(told: list[tuple[int, str, bool]]) -> None:
    """Releases of many agents come in any order; the standing is the same."""
    assert (
        len({repr(sorted(weigh(list(order)).failures.items())) for order in itertools.permutations(told)})
        == 1
    )
