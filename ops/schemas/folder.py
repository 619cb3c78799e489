"""A folder of schemas, ``<record>/<version>.avsc`` with ``contract.yaml``, and all its problems."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from operators.avro.compatibility import DEFAULT, Level, broken, invalid
from operators.contracts import ContractError, read_compatibility, read_contract
from ops.checks import Problem
from schemas import AvroSchema

LOCK: Final = "lock.json"


@dataclass
class Record:
    """A record's versions that are valid schemas, and what its contract promises of them."""

    name: str
    versions: dict[int, AvroSchema] = field(default_factory=dict)
    compatibility: Level = DEFAULT


@dataclass
class Folder:
    """What a folder has, by record; `locked` are the hashes of what was published."""

    path: Path
    records: dict[str, Record]
    locked: dict[str, str]
    problems: list[Problem]

    @property
    def hashes(self) -> dict[str, str]:
        """The hash of each version, by ``record/version``."""
        return {
            f"{record.name}/{version}": digest(schema)
            for record in self.records.values()
            for version, schema in sorted(record.versions.items())
        }

    @property
    def new(self) -> list[str]:
        """The versions that are not locked."""
        return [name for name in self.hashes if name not in self.locked]


def digest(schema: AvroSchema) -> str:
    """Return the SHA-256 of a schema's JSON value: spaces and the order of its keys are none."""
    text = json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> Folder:
    """Read a folder; what is wrong with it is in `problems`, but for versions not yet locked."""
    folder = Folder(path, {}, {}, [])
    # Other systems leave files of their own, whose names begin with a dot.
    names = {file.parent.name for file in path.glob("*/*.avsc") if file.name[0] != "."}
    if not names:
        folder.problems.append(Problem(str(path), 1, "has no file <record>/<version>.avsc"))
    for name in sorted(names):
        folder.records[name] = _record(path / name, folder.problems)
    hold_to_lock(folder)
    return folder


def _record(path: Path, problems: list[Problem]) -> Record:
    record = Record(path.name)
    files = {}
    for file in sorted(path.glob("*.avsc")):
        if file.name[0] == ".":
            continue
        schema, why = _schema(file)
        if why:
            problems.append(Problem(str(file), 1, why))
        else:
            version = int(file.stem)
            record.versions[version], files[version] = schema, file
    contract = path / "contract.yaml"
    if record.versions and contract.is_file():
        newest = record.versions[max(record.versions)]
        try:
            text = contract.read_text("utf-8")
            record.compatibility = read_compatibility(text, contract.name)
            read_contract(text, newest, contract.name)
        except (ContractError, UnicodeDecodeError) as error:
            problems += [
                Problem(str(contract), 1, line.removeprefix(f"{contract.name}: "))
                for line in str(error).splitlines()
            ]
    for each in broken(record.versions, record.compatibility):
        newer = files[max(each.writer, each.reader)]
        problems.append(
            Problem(
                str(newer),
                line_of(newer, each.why),
                f"version {each.reader} can't read all of version {each.writer}: {each.why} "
                f"({record.compatibility})",
            )
        )
    return record


def _schema(file: Path) -> tuple[AvroSchema, str]:
    """Return a file's schema, or why it is none."""
    if not (file.stem.isascii() and file.stem.isdecimal() and int(file.stem)):
        return {}, "its name is no version number"
    try:
        schema: Any = json.loads(file.read_text("utf-8"))
        return schema, invalid(schema)
    except (ValueError, RecursionError) as error:
        return {}, f"it is not JSON: {error}"


def line_of(file: Path, why: str) -> int:
    """Return the line of the field that a reason names, 1 if none is."""
    name = re.match(r"field (\w+):", why)
    lines = file.read_text("utf-8").splitlines()
    text = f'"name"\\s*:\\s*"{name[1]}"' if name else "$^"
    return next((at for at, line in enumerate(lines, 1) if re.search(text, line)), 1)


def hold_to_lock(folder: Folder) -> None:
    """Read what is locked, and find what is no longer as it was published."""
    file = folder.path / LOCK
    try:
        folder.locked = dict(json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return
    except (ValueError, TypeError) as error:
        folder.problems.append(Problem(str(file), 1, f"is no lock file: {error}"))
        return
    hashes = folder.hashes
    for name, locked in folder.locked.items():
        path = str(file_of(folder.path, name))
        if name not in hashes:
            if not Path(path).exists():
                why = "was published and is gone: records written with it need it, put it back"
                folder.problems.append(Problem(path, 1, why))
        elif hashes[name] != locked:
            version = max(folder.records[name.partition("/")[0]].versions) + 1
            why = (
                "is not as it was published, and so are records out there: put it back as it "
                f"was, and make the change as version {version}"
            )
            folder.problems.append(Problem(path, 1, why))


def file_of(path: Path, name: str) -> Path:
    """Return the file of a version that is called ``record/version``."""
    json_ = path / f"{name}.json"
    return json_ if json_.exists() else path / f"{name}.avsc"


def lock(folder: Folder) -> list[str]:
    """Lock the versions that are not yet; returns their names. Nothing else is changed."""
    new = folder.new
    hashes = folder.hashes
    locked = folder.locked | {name: hashes[name] for name in new}
    if new:
        text = json.dumps(dict(sorted(locked.items())), indent=2)
        (folder.path / LOCK).write_text(f"{text}\n", "utf-8")
    return new
