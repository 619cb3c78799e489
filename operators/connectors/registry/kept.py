"""Schemas that a flow has met, kept with its state: a restart must not need the registry."""

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Final
from uuid import UUID

from operators.avro import SchemaId
from schemas import AvroSchema

LOG: Final = logging.getLogger("millstream.registry")


class KeptSchemas:
    """A folder of files ``<id>.json``, which processes share: each is written whole, once.

    They are what one registry said: of another one, an id is another schema. What cannot be
    read or written costs a question to the registry, no more.
    """

    def __init__(self, folder: Path | None, registry: str) -> None:
        """With `folder` None nothing is kept; `registry` is its URL without a password."""
        self.folder, self._registry = folder, registry

    def load(self) -> dict[SchemaId, AvroSchema]:
        """Return what was kept."""
        found: dict[SchemaId, AvroSchema] = {}
        if self.folder is None:
            return found
        for path in sorted(self.folder.glob("*.json")):
            try:
                kept = json.loads(path.read_text("utf-8"))
                if kept["registry"] == self._registry and isinstance(kept["schema"], dict):
                    found[_id(path.stem)] = kept["schema"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                LOG.warning("%s is not read: %s", path, error)
        return found

    def keep(self, schema_id: SchemaId, schema: AvroSchema) -> None:
        """Keep a schema."""
        if self.folder is None:
            return
        text = json.dumps({"registry": self._registry, "schema": schema})
        made: str | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.folder, suffix=".tmp", delete=False
            ) as file:
                made = file.name
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(made).replace(self.folder / f"{schema_id}.json")
        except OSError as error:
            LOG.warning("schema id %s is not kept: %s", schema_id, error)
            if made is not None:
                Path(made).unlink(missing_ok=True)


def _id(name: str) -> SchemaId:
    return int(name) if name.isdecimal() else UUID(name)
