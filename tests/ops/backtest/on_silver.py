"""``millstream rules backtest`` on tables that flows wrote, and a rule to try there."""

import json
from typing import Any

import pytest

from ops import cli


class Backtest:
    """``millstream rules backtest`` on tables of the flows, with the settings that these had."""

    def __init__(
        self, topic: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
    ) -> None:
        monkeypatch.setenv("MILLSTREAM_TOPIC", topic)
        self._capsys = capsys

    def __call__(self, root: str, *arguments: object, status: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(["rules", "backtest", "--root", root, *map(str, arguments)])
        printed = self._capsys.readouterr()
        assert ended.value.code == status, printed.err
        return printed.err if status else printed.out

    def json(self, root: str, *arguments: object) -> dict[str, Any]:
        return json.loads(self(root, "--json", *arguments))


FEATURE = """\
name: spent_3d
version: 1
description: What the card spent within three days.
by: card_id
horizon: 3d
aggregate: sum
of: amount_minor
"""

RULE = """\
id: spender
version: 1
description: A card on which much is spent.
severity: low
when: spent_3d > 60000
score: spent_3d / 1000
reason: "{spent_3d} within three days"
cases:
  - name: much
    payments:
      - {amount_minor: 60001}
    alerts: [1]
"""
