"""``millstream lineage``: of what each table and column is made, and what comes of a field."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from flows import settings as settings_
from flows.catalog import Flow, all_flows
from flows.lineage import Column, TableLineage, lineage_of
from flows.loading import rules_of
from operators.features import FeatureError
from operators.rules.rules import RuleError

_LAYERS: Final = ("bronze", "silver", "gold", "quarantine")


def add_parser(subparsers: Any) -> None:
    """Add the command ``lineage``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "lineage",
        help="of what tables and columns are made, and what comes of a field",
        description="Show which topics each flow reads, and what it makes of them, as it is "
        "declared and set. Of a table, such as gold/alerts, its columns are shown with the "
        "fields of topics that they are made of; of a field, such as payments.amount_minor, "
        "every column that it goes into.",
    )
    parser.add_argument("name", nargs="?", help="a table, or a topic's field: TOPIC.FIELD")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print JSON")
    how.add_argument(
        "--mermaid", action="store_true", help="print a diagram for what renders Mermaid"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print it; returns 0, 1 for a name that nothing has, or 2 for settings or rules."""
    try:
        found = [
            (
                flow,
                lineage_of(
                    flow, {each.name: rules_of(each, flow.settings) for each in flow.reads}
                ),
            )
            for flow in all_flows()
        ]
    except (settings_.SettingsError, FeatureError, RuleError) as error:
        settings_.refuse(error, 2)
    tables = [each for _, of_flow in found for each in of_flow]
    if args.name is not None:
        return _one(args, tables)
    if args.json:
        json.dump([_flow_json(*each) for each in found], sys.stdout, indent=2)
        print()
    elif args.mermaid:
        print("\n".join(_mermaid(found)))
    else:
        for flow, of_flow in found:
            Console().print(_tree(flow, of_flow), highlight=False)
    return 0


def _one(args: argparse.Namespace, tables: Iterable[TableLineage]) -> int:
    """Show one table's columns, or all columns that a field goes into."""
    rows = [
        (each, name, column)
        for each in tables
        for name, column in each.columns.items()
        if args.name == each.table.name or args.name in map(str, column.of)
    ]
    if not rows and args.name not in [each.table.name for each in tables]:
        settings_.refuse(
            f"{args.name} is no table, and no field TOPIC.FIELD of which a column is made; "
            "millstream lineage lists the tables, millstream streams the topics", 1
        )  # fmt: skip
    if args.mermaid:
        settings_.refuse("--mermaid is of all flows: leave the name out", 2)
    if args.json:
        found = [
            {"table": each.table.name, "column": name, **_column_json(column)}
            for each, name, column in rows
        ]
        json.dump(found, sys.stdout, indent=2)
        print()
        return 0
    shown = Table("table", "column", "how", "by", "of", box=None, pad_edge=False)
    for each, name, column in rows:
        shown.add_row(
            each.table.name, name, column.how, column.by, ", ".join(map(str, column.of))
        )
    Console(width=None if sys.stdout.isatty() else 200).print(shown, highlight=False)
    return 0


def _flow_json(flow: Flow, tables: Iterable[TableLineage]) -> dict[str, Any]:
    return {
        "flow": flow.name,
        "reads": flow.topics,
        "sends": list(flow.sends),
        "tables": [
            {
                "table": each.table.name,
                "topics": list(each.topics),
                "columns": {name: _column_json(one) for name, one in each.columns.items()},
            }
            for each in tables
        ],
    }


def _column_json(column: Column) -> dict[str, Any]:
    return {"how": column.how, "by": column.by, "of": [str(each) for each in column.of]}


def _tree(flow: Flow, tables: Iterable[TableLineage]) -> Tree:
    tree = Tree(f"[bold]{flow.name}[/] ({flow.command})")
    reads = tree.add("reads")
    for topic in flow.topics:
        reads.add(f"topic {topic}")
    writes = tree.add("writes") if flow.tables else None
    for each in tables:
        if writes is not None:
            writes.add(f"{each.table.name} of {', '.join(each.topics)}")
    if flow.sends:
        sends = tree.add("sends")
        for topic in flow.sends:
            sends.add(f"topic {topic}")
    return tree


def _mermaid(found: Iterable[tuple[Flow, list[TableLineage]]]) -> Iterator[str]:
    yield "flowchart LR"
    for flow, tables in found:
        yield f'  flow_{flow.name}(["{flow.name}"])'
        for topic in flow.topics:
            yield f"  {_node(topic)} --> flow_{flow.name}"
        for name in (*(each.table.name for each in tables), *flow.sends):
            yield f"  flow_{flow.name} --> {_node(name)}"


def _node(name: str) -> str:
    """Return a topic or a table as a node; tables are drawn as stores."""
    of_table = name.split("/")[0] in _LAYERS
    text = f'[("{name}")]' if of_table else f'["{name}"]'
    return "n_" + "".join(each if each.isalnum() else "_" for each in name) + text
