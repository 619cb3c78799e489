"""``millstream schemas check`` and ``lock``: a folder held to its lock file and its contracts."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import schemas
from flows import settings as settings_
from flows.enforced.names import FOLDER
from ops.checks import Problem
from ops.schemas import enforced, folder

PACKAGED: Final = Path(schemas.__file__).parent


def check(args: argparse.Namespace) -> int:
    """Print what is wrong with a folder; returns 0, or 1 if anything is."""
    found = read_of(args)
    problems = [
        *found.problems,
        *(
            Problem(
                str(folder.file_of(found.path, name)),
                1,
                f"is not locked yet: run `millstream schemas lock{_argument(args)}` and "
                f"commit {folder.LOCK}",
            )
            for name in found.new
        ),
    ]
    return say(found, problems, args.json)


def lock(args: argparse.Namespace) -> int:
    """Lock what is new; returns 0, or 1 if anything is wrong, and then locks nothing."""
    found = read_of(args)
    if found.problems:
        return say(found, found.problems, args.json)
    new = folder.lock(found)
    if args.json:
        print_json({"locked": new})
    else:
        print(f"locked {', '.join(new)}" if new else "nothing is new")
    return 0


def read_of(args: argparse.Namespace) -> folder.Folder:
    """Return the folder that is meant; ends the process with 2 where there is none."""
    path: Path = args.folder or PACKAGED
    if args.enforced:
        named = args.folder or os.environ.get(FOLDER)
        if not named:
            settings_.refuse(f"--enforced: name a folder, or set {FOLDER}", 2)
        path = Path(named)
    if not path.is_dir():
        settings_.refuse(f"{path} is no folder", 2)
    return enforced.read(path) if args.enforced else folder.read(path)


def _argument(args: argparse.Namespace) -> str:
    more = " --enforced" if args.enforced else ""
    return more + (f" {args.folder}" if args.folder not in (None, PACKAGED) else "")


def say(found: folder.Folder, problems: list[Problem], as_json: bool) -> int:
    """Print what a folder has and what is wrong; return 1 if anything is, else 0."""
    records = {
        name: {"versions": sorted(each.versions), "compatibility": each.compatibility}
        for name, each in found.records.items()
    }
    if as_json:
        print_json({"records": records, "problems": [asdict(each) for each in problems]})
    else:
        for each in problems:
            print(f"{each.file}:{each.line}: {each.problem}")
        versions = sum(len(each.versions) for each in found.records.values())
        print(f"{len(records)} records, {versions} versions, {len(problems)} problems")
    return 1 if problems else 0


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    json.dump(value, sys.stdout, indent=2)
    print()
