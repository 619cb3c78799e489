"""The page of BI: every view and column, made of what the views say themselves."""

from pathlib import Path
from typing import Final

from ops.bi.views import SOURCES, View, views

_ABOUT: Final = Path(__file__).with_name("about.md")


def bi_page() -> str:
    """Return the page."""
    contents = [f"| [`{each.name}`](#{each.name}) | {each.about} |" for each in views()]
    return (
        _ABOUT.read_text("utf-8")
        + "\n".join(contents)
        + "\n\n"
        + "\n".join(_section(e) for e in views())
    )


def _section(view: View) -> str:
    tables = ", ".join(f"`{SOURCES[name].table.name}`" for name in sorted(view.reads))
    rows = [f"| `{name}` | {meaning} |" for name, meaning in view.columns.items()]
    head = [f"## {view.name}", "", f"Of {tables}.", "", "| column | |", "| --- | --- |"]
    return "\n".join([*head, *rows, ""])
