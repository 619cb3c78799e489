"""A folder of topics that are enforced, as `folder` has one of records, and publishing from it."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Final

from flows import settings as settings_
from flows.enforced.files import read_folder
from flows.enforced.loading import enforced
from flows.enforced.topic import Enforced
from operators import json_schema
from operators.avro.compatibility import broken, unreadable
from operators.connectors.registry import schema_source as registry
from ops.checks import Problem
from ops.schemas.folder import Folder, Record, file_of, hold_to_lock, line_of
from ops.schemas.published import where

_FILE: Final = re.compile(r"(contract\.yaml|\d+\.(?:avsc|json)): ")


def read(path: Path) -> Folder:
    """Read a folder; what is wrong with it is in `problems`, but for versions not yet locked."""
    topics, lines = read_folder(path)
    folder = Folder(path, {}, {}, [_problem(path, each) for each in lines])
    for topic in topics:
        folder.records[topic.name] = Record(
            topic.name, dict(topic.schemas), topic.compatibility
        )
        folder.problems += _incompatible(path, topic)
    hold_to_lock(folder)
    return folder


def _problem(path: Path, line: str) -> Problem:
    """Return a line of `read_folder` with its file: a topic's folder, or one of its files."""
    where_, _, why = line.partition(": ")
    if found := _FILE.match(why):
        where_, why = f"{where_}/{found[1]}", why[found.end() :]
    return Problem(where_, 1, why)


def _incompatible(path: Path, topic: Enforced) -> list[Problem]:
    found = []
    of_avro = file_of(path, f"{topic.name}/{min(topic.schemas)}").suffix == ".avsc"
    why_not = unreadable if of_avro else json_schema.unreadable
    for each in broken(topic.schemas, topic.compatibility, why_not):
        file = file_of(path, f"{topic.name}/{max(each.writer, each.reader)}")
        told = (
            f"version {each.reader} can't read all of version {each.writer}: {each.why} "
            f"({topic.compatibility})"
        )
        found.append(Problem(str(file), line_of(file, each.why), told))
    return found


def register(args: argparse.Namespace) -> int:
    """Publish the versions of the topics with ids that the registry lacks; returns 0.

    Raises RegistryUnavailableError and SettingsError.
    """
    topics = {each.name: each for each in enforced()}
    unknown = sorted(set(args.records) - topics.keys())
    if unknown or not topics:
        told = ", ".join(unknown) or "that is enforced"
        settings_.refuse(f"no topic {told}: there are {', '.join(topics) or 'none'}", 2)
    without = [name for name in args.records if not topics[name].registered]
    if without:
        settings_.refuse(
            f"{', '.join(without)}: records have no id of a registry, so it needs none", 2
        )
    url, settings = where()
    ids: dict[str, dict[int, int]] = {}
    for name, topic in topics.items():
        if name not in args.records and (args.records or not topic.registered):
            continue
        kind = "AVRO" if topic.written == "avro" else "JSON"
        ids[name] = registry.register_all(
            url, settings.registry_config, topic.topic, topic.schemas, kind
        )
        if not args.json:
            for version, number in ids[name].items():
                print(f"{name} {version}: id {number} under {topic.topic}-value")
    if args.json:
        json.dump(ids, sys.stdout, indent=2)
        print()
    return 0
