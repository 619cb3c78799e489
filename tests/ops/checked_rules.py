"""``millstream rules check``, and a rule that is right."""

import re

import pytest

from ops import cli

GOOD = """\
id: good
version: 1
description: A rule.
severity: low
when: amount_minor > 100
score: amount_minor / 10
reason: "{amount_minor} is over 100"
cases:
  - name: over
    payments:
      - {amount_minor: 101}
    alerts: [1]
"""


COST = re.compile(r"(\w+): (?:[\d,]+\.\d µs|unknown) per 1,000 events( \(.*\))?(, no case .*)?")


def check(capsys, *arguments: str) -> tuple[int, list[str]]:
    """Return the status and what is said, but for what rules cost."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["rules", "check", *arguments])
    lines = capsys.readouterr().out.splitlines()
    return ended.value.code, [line for line in lines if not COST.fullmatch(line)]
