"""``millstream schemas infer``: a schema and a contract drafted from what is on a topic."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from flows import settings as settings_
from flows.kafka_settings import kafka_problems, kafka_settings
from operators.avro import Lookup
from operators.avro.compatibility import invalid
from operators.connectors.registry import schema_source as registry
from operators.contracts import read_contract
from ops.schemas import infer as drafts
from ops.schemas.sample import Sample, decode, read_values
from schemas import AvroSchema

_NO_BROKERS: Final = "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS is missing"


def infer(args: argparse.Namespace) -> int:
    """Print or write a draft; returns 0, 1 (nothing to draft from, no broker) or 2 (settings)."""
    if args.records < 1:
        settings_.refuse("--records must be 1 or more", 2)
    sample = _sample(args.topic, args.records)
    name = drafts.record_name(args.topic)
    schema, contract, notes = _draft(args.topic, name, sample)
    for note in notes:
        print(f"millstream: {note}", file=sys.stderr)
    if args.out is not None:
        return _write(args.out / name, schema, contract)
    if args.json:
        told = {"record": name, "schema": schema, "contract": contract, "notes": notes}
        json.dump(told, sys.stdout, indent=2)
        print()
    else:
        print(f"# {name}/1.avsc\n{_text(schema)}\n# {name}/contract.yaml\n{contract}", end="")
    return 0


def _sample(topic: str, most: int) -> Sample:
    settings = kafka_settings(os.environ)
    problems = kafka_problems(os.environ)
    if not settings.get("bootstrap.servers"):
        problems.append(_NO_BROKERS)
    if problems:
        settings_.refuse("\n".join(problems), 2)
    try:
        records = read_values(settings, topic, most)
        sample = decode(records, registry_lookup())
    except ValueError as error:
        settings_.refuse(error, 2)
    return sample


def registry_lookup() -> Lookup:
    """Return the function that finds schemas as the settings say; raises as `open_registry`."""
    settings = settings_.registry_settings()
    url = settings.schema_registry.get_secret_value()
    return registry.open_registry(url, settings.registry_config, timeout=10)


def _draft(topic: str, name: str, sample: Sample) -> tuple[AvroSchema, str, list[str]]:
    """Return schema, contract and what is to be said of them; ends the process without any."""
    notes = [f"{count} records are {what}" for what, count in sample.neither.items() if count]
    values: list[dict[str, Any]] = max([sample.json, *sample.avro.values()], key=len)
    if not values:
        for note in notes:
            print(f"millstream: {note}", file=sys.stderr)
        settings_.refuse(f"topic {topic} has no record to draft a schema from", 1)
    others = len(sample) - sample.neither.total() - len(values)
    if others:
        notes.append(f"{others} records are written another way, and not looked at")
    if values is sample.json:
        schema, left = drafts.draft_schema(name, values)
        notes += left
    else:
        schema = next(sample.schemas[i] for i, found in sample.avro.items() if found is values)
    why = invalid(schema)
    if why:
        notes.append(f"no flow can read the schema as it is: {why}")
    contract = drafts.draft_contract(schema, values)
    if not why:
        read_contract(contract, schema, "contract.yaml")
    return schema, contract, notes


def _write(folder: Path, schema: AvroSchema, contract: str) -> int:
    for file, text in (("1.avsc", _text(schema)), ("contract.yaml", contract)):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with (folder / file).open("x", encoding="utf-8") as out:
                out.write(text if text.endswith("\n") else f"{text}\n")
        except FileExistsError:
            settings_.refuse(f"{folder / file} is there already: name another --out", 2)
        print(f"wrote {folder / file}")
    return 0


def _text(schema: AvroSchema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False)
