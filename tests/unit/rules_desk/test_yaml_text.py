"""Cassettes are written as YAML that people read, and that reads back as it was."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.rules.yaml_text import document
from sonde_unlock.reading import read_document

LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text(st.characters(codec="utf-8"))
    | st.text(alphabet="a \n:#-|{}[]\"'\\\t\r0.e")
)
VALUES = st.recursive(
    LEAF,
    lambda part: st.lists(part) | st.dictionaries(st.text(st.characters(codec="utf-8")), part),
    max_leaves=20,
)


@given(VALUES)
def test_whatever_is_written_reads_back_as_it_was(value: Any) -> None:
    """Any plain value survives being written and read by the language's own reader."""
    read, _, problems = read_document(document([value]), "x", 1_000_000)
    assert (read, problems) == ([value], [])


def test_it_is_what_a_person_would_write() -> None:
    """Short tables stand on a line, texts of several lines are blocks, words have no quotes."""
    value = {
        "slug": "acme-tv",
        "country": "NO",
        "reply": {"status": 200, "text": "<html>\n  <title>Acme</title>\n</html>\n"},
        "headers": [{"name": "content-type", "value": "text/html; charset=utf-8"}],
    }
    assert document(value) == (
        "slug: acme-tv\n"
        'country: "NO"\n'
        "reply:\n"
        "  status: 200\n"
        "  text: |\n"
        "    <html>\n"
        "      <title>Acme</title>\n"
        "    </html>\n"
        'headers: [{name: content-type, value: "text/html; charset=utf-8"}]\n'
    )
