"""Log lines: as people read them, or as JSON, one object a line, for what collects them."""

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from flows.told import told

VARIABLE: Final = "MILLSTREAM_LOG_FORMAT"

# A topic's partition, and the offset if the message names one: tables have no such names.
_PLACE: Final = re.compile(r"(?<![\w/.-])([\w.-]+)/(\d+)(?:/(\d+))?(?![\w/.-]*/)")
_NAMES: Final = ("topic", "partition", "offset")


def set_up(flow: str) -> None:
    """Log what the flow and its connectors say, in the form that the environment asks for."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("millstream").setLevel(logging.INFO)
    if os.environ.get(VARIABLE) == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines(flow))


@contextmanager
def silent() -> Iterator[None]:
    """Log nothing of the connectors meanwhile: for tools that show what those would say."""
    logger = logging.getLogger("millstream")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


class JsonLines(logging.Formatter):
    """A line's time, level, logger and message, whose it is, and the place that it names first."""

    def __init__(self, flow: str) -> None:
        super().__init__()
        self._flow = flow

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        message = record.getMessage()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "flow": self._flow,
            "process": told().process,
            "message": message,
            **place(message),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def place(message: str) -> dict[str, str | int]:
    """Return topic, partition and, if it is told, offset of the first place that is named."""
    found = _PLACE.search(message)
    if found is None:
        return {}
    values = (found[1], *(int(each) for each in found.groups()[1:] if each is not None))
    return dict(zip(_NAMES, values, strict=False))
