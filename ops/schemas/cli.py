"""``millstream schemas``: schemas as files, held to what was published, and to a registry."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

import schemas
from flows import settings as settings_
from flows.streams import as_published
from operators.avro import changes
from operators.avro.compatibility import invalid
from operators.connectors.registry import schema_source as registry
from ops.schemas import draft, drift, enforced, folder, pii, published
from ops.schemas.checking import PACKAGED, check, lock, print_json, say
from schemas import AvroSchema

T = TypeVar("T")


def add_parser(subparsers: Any) -> None:
    """Add the command ``schemas``; its sub-commands' `func` return the exit code."""
    parser = subparsers.add_parser(
        "schemas",
        help="check schemas, compare them, publish them",
        description="Schemas as files, <record>/<version>.avsc, and as a registry has them. The "
        "registry is that of MILLSTREAM_SCHEMA_REGISTRY, and the settings that begin so.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, func, text, more in _COMMANDS:
        each = commands.add_parser(name, help=text, description=f"{more}")
        each.set_defaults(func=func)
        if name in ("check", "lock"):
            each.add_argument(
                "folder", type=Path, nargs="?", metavar="FOLDER",
                help="of schemas (default: the packaged ones)",
            )  # fmt: skip
            _add_enforced(each)
        elif name == "diff":
            each.add_argument("record", choices=schemas.records(), metavar="RECORD")
            each.add_argument("old", nargs="?", metavar="FROM", help="a version, or registry")
            each.add_argument("new", nargs="?", metavar="TO", help="a version, or registry")
        elif name == "infer":
            each.add_argument("topic", metavar="TOPIC")
            each.add_argument(
                "--records", type=int, default=1_000, metavar="N",
                help="how many to look at, from the topic's beginning (default: %(default)s)",
            )  # fmt: skip
            each.add_argument(
                "--out", type=Path, metavar="FOLDER",
                help="write FOLDER/<record>/1.avsc and contract.yaml instead of printing them",
            )  # fmt: skip
        elif name == "drift":
            each.add_argument(
                "streams",
                nargs="*",
                metavar="STREAM",
                help="default: all that have a bronze table",
            )
            each.add_argument("--root", help="instead of MILLSTREAM_DELTA_ROOT")
        elif name == "register":
            each.add_argument("records", nargs="*", metavar="RECORD", help="default: all")
            _add_enforced(each)
        each.add_argument("--json", action="store_true", help="print JSON")


def _add_enforced(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--enforced", action="store_true",
        help="of topics that are enforced: the folder of MILLSTREAM_ENFORCE_FOLDER by default",
    )  # fmt: skip


def listed(args: argparse.Namespace) -> int:
    """Print every version here and in the registry, if one is set; returns 0, 1 or 2."""
    settings = _asking(settings_.registry_settings)
    url = settings.schema_registry.get_secret_value()
    asked = registry.is_registry(url)
    found = _asking(lambda: published.rows(published.ask(url, settings) if asked else {}))
    if args.json:
        print_json([asdict(each) for each in found])
        return 0
    table = Table(box=None, pad_edge=False)
    for name in ("record", "version", "local id", "subject", *(("registry",) if asked else ())):
        table.add_column(name)
    for each in found:
        there = f"version {each.registry_version}, id {each.registry_id}"
        table.add_row(
            each.record,
            "not here" if each.version is None else str(each.version),
            "" if each.local_id is None else str(each.local_id),
            each.subject,
            *([] if not asked else ["not there" if each.registry_id is None else there]),
        )
    Console().print(table)
    return 0


def diff(args: argparse.Namespace) -> int:
    """Print what differs between two versions; returns 0, or 1 or 2 if one is not to be had."""
    versions = schemas.versions(args.record)
    newest = args.new or str(versions[-1])
    oldest = args.old or (str(versions[-2]) if len(versions) > 1 else "registry")
    found = changes.compare(_version(args.record, oldest), _version(args.record, newest))
    if args.json:
        print_json(asdict(found))
        return 0
    signs = {"added": "+", "removed": "-", "renamed": "~", "changed": "~"}
    for each in found.changes:
        print(f"{signs[each.kind]} {each.field}: {each.text}")
    if not found.changes:
        print("no field differs")
    for reader, writer, whys in (
        (newest, oldest, found.new_reads_old),
        (oldest, newest, found.old_reads_new),
    ):
        print(
            f"{reader} reads all of {writer}" if not whys else f"{reader} can't read {writer}:"
        )
        for why in whys:
            print(f"  {why}")
    return 0


def _version(record: str, name: str) -> AvroSchema:
    """Return a version by its number, or the registry's last one; ends the process without it."""
    if name == "registry":
        url, settings = _asking(published.where)
        topic = _asking(published.topics)[record]
        there = _asking(lambda: registry.published(url, settings.registry_config, topic))
        if not there:
            settings_.refuse(
                f"the registry has nothing under {topic}-value: publish it with `millstream "
                f"schemas register {record}`", 1
            )  # fmt: skip
        schema = there[max(there)][1]
        if why := invalid(schema):
            settings_.refuse(
                f"version {max(there)} of {topic}-value in the registry is no schema that a flow "
                f"can read: {why}", 1
            )  # fmt: skip
        return schema
    versions = schemas.versions(record)
    if not (name.isascii() and name.isdecimal() and int(name) in versions):
        known = ", ".join(map(str, versions))
        settings_.refuse(f"{record} has no version {name}: there are {known}, and registry", 2)
    return schemas.load(record, int(name))


def register(args: argparse.Namespace) -> int:
    """Publish the versions that the registry lacks; returns 0, 1 (refused) or 2 (settings)."""
    if args.enforced:
        return _asking(partial(enforced.register, args))
    unknown = set(args.records) - set(schemas.records())
    if unknown:
        known = ", ".join(schemas.records())
        settings_.refuse(f"no record {', '.join(sorted(unknown))}: there are {known}", 2)
    own = {each.record for each in as_published()}
    if enveloped := set(args.records) - own:
        settings_.refuse(
            f"{', '.join(sorted(enveloped))}: their topics have them in Debezium's envelope, which "
            "its connector publishes", 2
        )  # fmt: skip
    found = folder.read(PACKAGED)
    if found.problems:
        return say(found, found.problems, args.json)
    url, settings = _asking(published.where)
    ids: dict[str, dict[int, int]] = {}
    for record, topic in _asking(published.topics).items():
        if record in (args.records or own):
            ids[record] = _asking(
                partial(registry.register, url, settings.registry_config, record, topic)
            )
            if not args.json:
                for version, number in ids[record].items():
                    print(f"{record} {version}: id {number} under {topic}-value")
    if args.json:
        print_json(ids)
    return 0


def drifted(args: argparse.Namespace) -> int:
    """Print what drifts; returns 0, 1 (some of it is refused, or no registry) or 2 (settings)."""
    known = [each.name for each in as_published() if each.alone]
    if unknown := sorted(set(args.streams) - set(known)):
        settings_.refuse(f"no stream {', '.join(unknown)}: there are {', '.join(known)}", 2)
    return _asking(partial(drift.drift, args))


def _asking(call: Callable[[], T]) -> T:
    """Return what the registry says, or end the process with a line that says what to do."""
    try:
        return call()
    except registry.RegistryUnavailableError as error:
        settings_.refuse(error, 1)
    except ValueError as error:
        settings_.refuse(error, 2)


_COMMANDS = (
    (
        "check", check, "prove schemas compatible and unchanged",
        "Check every schema of a folder: that it is one that a flow can read, that the versions "
        "are compatible as the record's contract.yaml says (compatibility: none, backward, "
        "forward, full, or one of these and _transitive; backward_transitive unless stated), that "
        "the published ones are as they were (lock.json has their hashes), and that the contract "
        "fits the newest. Exit status 1 if there is any problem: for CI.",
    ),
    (
        "lock", lock, "note that new versions are published",
        "Add the hash of every version that is not in lock.json yet, if nothing is wrong. What is "
        "there is never changed.",
    ),
    (
        "list", listed, "list versions with their ids",
        "List every version that is here with the id that it has without a registry, the subject "
        "of its topic, and, if a registry is set, its version and id there; also what the registry "
        "has and is not here.",
    ),
    (
        "diff", diff, "show what a version changed",
        "Show what differs between two versions of a record, field by field, and which can read "
        "which. Default: the newest beside the one before it; registry is its last version there.",
    ),
    (
        "register", register, "publish versions in a registry",
        "Publish every version, oldest first, under the subject of its topic, <topic>-value; what "
        "is there keeps its id. Refused if `schemas check` finds more than unlocked versions.",
    ),
    (
        "drift", drifted, "show what was written by schemas that are not here",
        "Look through the bronze tables for records whose schema is no version here, and print "
        "what differs from the newest, field by field, since when, and whether they are read or "
        "refused. Exit status 1 if any are refused. Reads whole tables.",
    ),
    pii.COMMAND,
    (
        "infer", draft.infer, "draft a schema and a contract of a topic",
        "Read the first records of a topic and draft a schema and a contract that they fulfil: of "
        "JSON objects by their values, of Avro the schema that wrote most of them. "
        "Nothing is committed. Brokers and registry are those of the settings.",
    ),
)  # fmt: skip
