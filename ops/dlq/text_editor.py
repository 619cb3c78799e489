"""A record as a file that a person edits."""

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from flows import settings as settings_
from ops.dlq.quarantine import QuarantineError


class Draft:
    """What a person has made of a record; its file stays until it is removed."""

    def __init__(self) -> None:
        self.path: Path | None = None

    def edited(self, record: Any) -> Any:
        """Return a record as its reader leaves it; raises QuarantineError if that is no JSON."""
        command = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not command:
            settings_.refuse("EDITOR is not set: set it, or give --patch or --as", 2)
        # Nobody else may read it: it is a customer's.
        handle, name = tempfile.mkstemp(prefix="millstream-", suffix=".json")
        self.path = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)
            file.write("\n")
        try:
            status = subprocess.run([*shlex.split(command), name], check=False).returncode
        except (OSError, ValueError) as error:
            self.remove()
            raise QuarantineError(f"the editor {command!r} does not start: {error}") from error
        if status:
            self.remove()
            raise QuarantineError(f"the editor ended with status {status}: nothing is changed")
        try:
            return json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise QuarantineError(
                f"what was written is no JSON ({error}); mend it in {name} and give that with --as"
            ) from error

    def remove(self) -> None:
        """Remove the file, if there is one."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None
