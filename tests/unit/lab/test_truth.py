"""What the lab reads back: the provider's book, counted echoes, recorded delays."""

import json
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sonde_lab import delay_line, records, truth
from sonde_lab.misbehaving import seen_as


def test_sessions_are_counted_across_servers() -> None:
    """An account's sessions at once are counted over all servers, and the most that there were is kept."""
    book = [
        "1.0 a connect lab",
        "2.0 b connect lab",
        "3.0 a disconnect lab",
        "4.0 a connect lab",
        "5.0 b connect x",
    ]
    seen = truth.sessions(book)
    assert seen["lab"] == {"now": 2, "most": 2, "logins": 3, "by_server": {"a": 2, "b": 1}}
    assert seen["x"]["most"] == 1


def test_echoes_are_told_by_source() -> None:
    """Counters of nft become seen and lost for each source, IPv4 and IPv6 in one table."""

    def counters(name: str, *elements: tuple[str, int]) -> dict[str, object]:
        found = [{"elem": {"val": value, "counter": {"packets": count}}} for value, count in elements]
        return {"set": {"name": name, "elem": found} if found else {"name": name}}

    text = json.dumps(
        {
            "nftables": [
                {"metainfo": {}},
                counters("direct_seen", ("198.51.100.11", 9), ("198.51.100.12", 4)),
                counters("direct_lost", ("198.51.100.11", 2)),
                counters("direct_seen6", ("2001:db8:1::11", 5)),
                counters("inner_lost"),
            ]
        }
    )
    assert truth.counted(text)["echoes"] == {
        "direct": {
            "198.51.100.11": {"seen": 9, "lost": 2},
            "198.51.100.12": {"seen": 4, "lost": 0},
            "2001:db8:1::11": {"seen": 5, "lost": 0},
        },
        "inner": {},
    }


def test_records_come_back_newest_first_and_only_as_old_as_asked(tmp_path: Path) -> None:
    """What the delay line writes is read back as it was, also when it has gone round its file."""
    file = tmp_path / "one.record"
    line = delay_line.Line((0, 0), delay_line.book(str(file)))
    now = time.time()
    for number in range(records.CAPACITY + 3):
        line.record(now + number, 0.025, 84, 1, down=True)
    line.count(1, down=True, size=84)
    line.count(1, down=True, size=None)
    last = list(records.read(file, now + records.CAPACITY))
    assert [round(record.at_s - now) - records.CAPACITY for record in last] == [2, 1, 0]
    assert {(record.delay_ms, record.size, record.down, record.path) for record in last} == {
        (25.0, 84, True, 1)
    }
    assert sum(1 for _ in records.read(file)) == records.CAPACITY
    assert records.totals(file)[1, True] == records.Total(1, 84, 1)
    assert records.totals(file)[1, False] == records.Total(0, 0, 0)
    line.book.close()


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_quantiles_are_values_that_were_seen(values: list[float]) -> None:
    """A quantile is one of the values; 0 is the least and 1 the greatest; none of none is None."""
    ordered = sorted(values)
    assert records.quantile(ordered, 0.5) in values
    assert (records.quantile(ordered, 0), records.quantile(ordered, 1)) == (min(values), max(values))
    assert records.quantile([], 0.5) is None


def test_a_leak_tells_where_the_peer_comes_from() -> None:
    """A caller inside is told the address that its tunnel comes from; an unknown one its own."""
    dump = "priv\tpub\t51823\toff\n"
    dump += "k1\t(none)\t198.51.100.11:4000\t10.72.0.2/32,fd00:72::2/128\t1\t2\t3\toff\n"
    dump += "k2\t(none)\t[2001:db8:1::12]:4000\t10.72.0.12/32,fd00:72::c/128\t1\t2\t3\toff\n"
    assert seen_as("10.72.0.2", dump) == "198.51.100.11"
    assert seen_as("fd00:72::c", dump) == "2001:db8:1::12"
    assert seen_as("10.72.0.99", dump) == "10.72.0.99"
