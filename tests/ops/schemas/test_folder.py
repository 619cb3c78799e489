"""A folder of schemas: every problem at once, and what was published stays as it was."""

import json
import shutil
from pathlib import Path

import pytest

import schemas
from ops import cli
from ops.schemas import folder

PACKAGED = Path(schemas.__file__).parent


def run(capsys, *arguments):
    """Return the status of `millstream schemas …` and the lines that it prints."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["schemas", *map(str, arguments)])
    return ended.value.code, capsys.readouterr().out.splitlines()


@pytest.fixture
def copy(tmp_path):
    """A copy of the packaged folder, locked."""
    shutil.copytree(PACKAGED, tmp_path / "schemas", ignore=shutil.ignore_patterns("__*"))
    return tmp_path / "schemas"


def edited(file: Path, change, to: Path | None = None) -> Path:
    """Write a schema anew, or to another file, as `change` leaves it."""
    schema = json.loads(file.read_text())
    change(schema)
    to = to or file
    to.write_text(json.dumps(schema, indent=2))
    return to


def test_the_packaged_schemas_are_locked_and_compatible(capsys):
    assert run(capsys, "check") == (0, ["6 records, 7 versions, 0 problems"])


def test_a_new_version_is_checked_then_locked_and_then_may_not_change(capsys, copy):
    newest, new = copy / "payment/2.avsc", copy / "payment/3.avsc"
    fee = {"name": "fee_minor", "type": "long"}
    edited(newest, lambda schema: schema["fields"].append(fee), new)
    line = next(n for n, t in enumerate(new.read_text().splitlines(), 1) if "fee_minor" in t)
    why = "field fee_minor: not written, and has no default (backward_transitive)"
    expected = [
        f"{new}:{line}: version 3 can't read all of version {old}: {why}" for old in (1, 2)
    ]
    last = "6 records, 8 versions, {} problems"
    unlocked = (
        f"{new}:1: is not locked yet: run `millstream schemas lock {copy}` and commit lock.json"
    )
    assert run(capsys, "check", copy) == (1, [*expected, unlocked, last.format(3)])
    before = (copy / folder.LOCK).read_text()
    assert run(capsys, "lock", copy) == (1, [*expected, last.format(2)])
    assert (copy / folder.LOCK).read_text() == before

    edited(new, lambda schema: schema["fields"][-1].update(default=0))
    assert run(capsys, "check", copy) == (1, [unlocked, last.format(1)])
    assert run(capsys, "lock", copy) == (0, ["locked payment/3"])
    assert run(capsys, "lock", copy) == (0, ["nothing is new"])
    assert run(capsys, "check", copy)[0] == 0

    # Written otherwise it is the same; another default is another schema.
    edited(new, lambda schema: schema.update(fields=schema.pop("fields")))
    new.write_text(json.dumps(json.loads(new.read_text())))
    assert run(capsys, "check", copy)[0] == 0
    edited(new, lambda schema: schema["fields"][-1].update(default=1))
    assert run(capsys, "check", copy)[1][0] == (
        f"{new}:1: is not as it was published, and so are records out there: put it back as it "
        "was, and make the change as version 4"
    )
    new.unlink()
    status, (first, _) = run(capsys, "check", copy)
    assert status == 1
    assert first.startswith(f"{new}:1: was published and is gone")


def test_what_a_contract_promises_of_its_versions(capsys, copy):
    def gone(schema):
        schema["fields"] = [f for f in schema["fields"] if f["name"] != "currency"]

    new = edited(copy / "payment/2.avsc", gone, copy / "payment/3.avsc")
    contract = copy / "payment/contract.yaml"
    text = contract.read_text()
    # The contract is of the newest, which no longer has the field.
    status, lines = run(capsys, "check", copy)
    assert status == 1
    assert any(
        "currency_format" in line and line.startswith(f"{contract}:1:") for line in lines
    )
    kept = "".join(line for line in text.splitlines(True) if "currency_format" not in line)
    contract.write_text(kept)
    run(capsys, "lock", copy)
    assert run(capsys, "check", copy)[0] == 0
    for level, count in {"forward": 1, "full_transitive": 2, "none": 0}.items():
        contract.write_text(f"compatibility: {level}\n{kept}")
        status, lines = run(capsys, "check", copy)
        assert (status, len(lines)) == (int(count > 0), count + 1)
        assert all(f"field currency: not written, and has no default ({level})" in line
                   and line.startswith(f"{new}:1: version") for line in lines[:-1])  # fmt: skip
    contract.write_text(f"compatibility: always\n{kept}")
    assert "compatibility: Input should be" in run(capsys, "check", copy)[1][0]


def test_every_problem_of_a_folder_at_once(capsys, tmp_path):
    for name, text in {
        "a/1.avsc": "{",
        "a/one.avsc": "{}",
        "b/1.avsc": '"string"',
        "c/1.avsc": '{"type": "record", "name": "C", "fields": [{"name": "m", "type": "null"}]}',
        "c/.2.avsc": "what another system leaves",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / folder.LOCK).write_text("[1]")
    status, lines = run(capsys, "check", tmp_path)
    told = [line.removeprefix(f"{tmp_path}/") for line in lines]
    assert status == 1
    assert [line[: line.index(" ")] for line in told[:-1]] == [
        "a/1.avsc:1:", "a/one.avsc:1:", "b/1.avsc:1:", "c/1.avsc:1:", "lock.json:1:",
    ]  # fmt: skip
    assert "it is not JSON" in told[0]
    assert told[1].endswith("its name is no version number")
    assert told[2].endswith("the schema is not a record")
    assert told[3].endswith("field m: a column cannot hold the type null")
    status, lines = run(capsys, "check", tmp_path, "--json")
    assert len(json.loads("\n".join(lines))["problems"]) == 5
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(capsys, "check", empty)[0] == 1
    assert run(capsys, "check", tmp_path / "nothing")[0] == 2
