"""Commands that change rules, lists and thresholds, and look at them, on a broker."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flows.control import recorded
from flows.settings import load
from flows.streams import PAYMENTS
from ops import cli
from ops.doctor.servers import Servers
from ops.local import Stack
from tests import topics
from tests.operators.rules.samples import GOOD

Command = Callable[..., str]
WHY = "--why", "so", "--who", "eve"


@pytest.fixture
def command(
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Give what runs `millstream` with a folder of one rule, whose end must be as expected."""
    settings = topics.settings(stack, tmp_path.name, tmp_path) | {
        "MILLSTREAM_CONTROL_TOPIC": f"{tmp_path.name}.control",
        "MILLSTREAM_RULES": str(tmp_path / "rules"),
    }
    (tmp_path / "rules").mkdir()
    state(tmp_path / "rules" / "r.yaml")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        said = capsys.readouterr()
        assert ended.value.code == status, said
        return said.out + said.err

    return run


def state(path: Path, **more: object) -> str:
    path.write_text(yaml.safe_dump(GOOD | {"version": 1} | more))
    return str(path)


def test_rules_lists_and_thresholds_are_changed_and_shown(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "r.yaml"
    state(new, version=2, when="card_id IN LIST 'stolen' OR amount_minor > 100", rollout="10%")
    assert "+version: 2" in command("rules", "diff", str(new), status=1)
    assert "r: version 2, live for 10%, holds from" in command("rules", "push", str(new), *WHY)
    assert "r: version 2, live, holds" in command("rules", "promote", "r", *WHY)
    assert "version 2, shadow" in command("rules", "promote", "r", "--to", "shadow", *WHY)
    assert "no share of keys" in command(
        "rules", "promote", "r", "--rollout", "0%", *WHY, status=1
    )
    state(new)
    assert "version 1 is older than 2: millstream rules rollback r --to 1" in command(
        "rules", "push", str(new), *WHY, status=1
    )
    state(new, version=3, when="amount_minor IN LIST 'stolen'")
    assert "lists are about card_id, customer_id" in command(
        "rules", "push", str(new), *WHY, status=1
    )
    assert "no version 7 of r: there are 1, 2" in command(
        "rules", "rollback", "r", "--to", "7", *WHY, status=1
    )
    assert "r: version 1, live, holds" in command("rules", "rollback", "r", "--to", "1", *WHY)
    assert "r: its file holds" in command("rules", "rollback", "r", *WHY, "--at", "2100-01-01")
    assert "there is no rule q: there are r" in command("rules", "pause", "q", *WHY, status=1)
    shown = json.loads(command("rules", "show", "r", "--json"))
    assert [(each["version"], each["status"], each["who"]) for each in shown["history"]] == [
        (2, "live for 10%", "eve"), (2, "live", "eve"), (2, "shadow", "eve"),
        (1, "live", "eve"), (None, "file", "eve"),
    ]  # fmt: skip
    assert "by eve: so" in command("rules", "show", "r")

    about = "--column", "card_id", "--owner", "desk", *WHY
    (tmp_path / "cards").write_text("4\n\n5\n4\n")
    added = "lists", "add", "stolen", "3", "--kind", "block", *about, "--file"
    assert "2 entries" not in command(*added, str(tmp_path / "cards"), status=2)
    assert "3 entries, from" in command(*added, str(tmp_path / "cards"), "--expires", "30d")
    wrong = "lists", "add", "vip", "3", *about, "--kind", "watch", "--overrides"
    assert "only what allows can override" in command(*wrong, "--expires", "30d", status=1)
    assert "before it begins" in command(*wrong, "--expires", "2020-01-01", status=1)
    other = ["lists", "add", "vip", "3", "--kind", "watch", "--owner", "o", "--expires", "1d"]
    assert "lists are about" in command(*other, "--column", "amount_minor", *WHY, status=1)
    off = "lists", "remove", "stolen", "--column", "card_id", *WHY
    assert "no values" in command(*off, status=1)
    off = "lists", "remove", "stolen", "4", "6", "--column", "card_id", *WHY
    assert "not on the list: stolen/card_id/6" in command(*off, status=1)
    command("lists", "remove", "stolen", "4", "--column", "card_id", *WHY)
    listed = json.loads(command("lists", "show", "stolen", "--json"))
    assert {"3", "5"} <= {each["value"] for each in listed}
    assert "stolen (block): card_id 3, from" in command("lists", "show")
    assert command("lists", "show", "other") == ""

    assert "review: 40.0, from" in command("thresholds", "set", "review", "40", *WHY)
    assert "review: 40.0, from" in command("thresholds", "show")
    later = "thresholds", "set", "review", *WHY, "--at", "2100-01-01"
    assert "review: what is declared, from 2100" in command(*later)
    assert [each["value"] for each in json.loads(command("thresholds", "show", "--json"))] == [
        40.0, None
    ]  # fmt: skip
    settings = load()
    found = recorded(settings, settings.stream(PAYMENTS))
    assert found is not None
    assert len(found.changes) == 5 + 3 + 1 + 2

    # The doctor makes no topic.
    servers = Servers(settings)
    assert servers.control(f"{tmp_path.name}.control").startswith("may be read")
    assert "is not there yet" in servers.control(f"{tmp_path.name}.none")
    assert "is not there yet" in servers.control(f"{tmp_path.name}.none")
    monkeypatch.delenv("MILLSTREAM_CONTROL_TOPIC")
    said = command("rules", "list", status=2)
    assert "MILLSTREAM_CONTROL_TOPIC is not set" in said
    state(new, version=2, when="card_id IN LIST 'stolen'")
    assert "there are no lists without a control topic" in command(
        "rules", "check", str(tmp_path), status=1
    )
