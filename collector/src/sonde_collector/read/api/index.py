"""A page for people who open the API in a browser: what is here. **Pure**."""

import html
from collections.abc import Iterable

from sonde_collector.read.api.operation import Operation

_OTHERS = (
    ("/openapi.json", "All of this for programs"),
    ("/metrics", "This collector, for Prometheus"),
    ("/metrics/targets", "What was measured, for Prometheus (?server=GLOB&amp;target=GLOB&amp;vantage=GLOB)"),
    ("/readyz", "Whether this collector can commit what agents send"),
)


def page(operations: Iterable[Operation], version: str) -> bytes:
    """Give the page."""
    lines = [
        f"<li>{_link(each.path)} {html.escape(each.summary)}{_takes(each)}</li>" for each in operations
    ] + [f"<li>{_link(path)} {about}</li>" for path, about in _OTHERS]
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Sonde</title>\n'
        f"<h1>Sonde {html.escape(version)}</h1>\n<ul>\n" + "\n".join(lines) + "\n</ul></html>\n"
    ).encode()


def _link(path: str) -> str:
    text = html.escape(path)
    return f"<code>{text}</code>" if "{" in path else f'<a href="{text}"><code>{text}</code></a>'


def _takes(operation: Operation) -> str:
    names = [each.name for each in operation.takes if not each.in_path]
    return f" <small>({', '.join(map(html.escape, names))})</small>" if names else ""
