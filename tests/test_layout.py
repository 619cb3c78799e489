"""The repository's own rules: who imports whom, how long a file gets, what ships."""

import inspect
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from operators.errors import KnownError

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "operators", "schemas", "ops")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_imports_point_one_way():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_pure_module_is_under_the_contract_of_purity():
    (contract,) = (
        each
        for each in PROJECT["tool"]["importlinter"]["contracts"]
        if each["name"] == "The pure core knows no engine and no network"
    )
    names = {
        path.stem
        for path in (ROOT / "operators").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
    }
    pure = names - {"connectors", "steps", "metrics"}
    assert set(contract["source_modules"]) == {f"operators.{name}" for name in pure}


def test_no_step_acts_on_the_end_of_its_input_which_is_a_stop_and_not_an_end_of_time():
    steps = [path.read_text("utf-8") for path in (ROOT / "operators" / "steps").glob("*.py")]
    assert any("StatefulBatchLogic" in text for text in steps)
    assert not any("on_eof" in text for text in steps)


@pytest.mark.parametrize("package", [*PACKAGES, "benchmarks"])
def test_no_file_is_too_long_to_read(package):
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text("utf-8").splitlines())) > 300
    }
    assert long == {}


def test_what_ends_a_flow_is_said_in_one_line():
    """An error of the world is a KnownError: any other is taken for a fault of ours."""
    unknown = []
    for path in (ROOT / "operators").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
            ".__init__"
        )
        for name, found in vars(import_module(module)).items():
            if (
                inspect.isclass(found)
                and issubclass(found, RuntimeError)
                and found.__module__.startswith("operators.")
                and not issubclass(found, KnownError)
            ):
                unknown.append(f"{module}.{name}")
    assert unknown == []


def test_only_the_tests_root_is_a_package_of_that_name():
    # tests/operators/__init__.py would make `import operators` find the tests.
    shadows = [
        package for package in PACKAGES if (ROOT / "tests" / package / "__init__.py").exists()
    ]
    assert shadows == []
    for package in PACKAGES:
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
            assert (folder / "__init__.py").exists(), f"{folder} ships no package"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        Path(sys.executable).with_name("hatchling"),
        "build",
        "-t",
        "wheel",
        "-d",
        folder,
    ]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize(
    "pattern",
    [
        "flows/streams/**/rules/*.yaml",
        "flows/streams/*/rules/features/*.yaml",
        "schemas/*/*.avsc",
        "schemas/*/*.yaml",
        "operators/connectors/**/*.lua",
        "**/*.py",
    ],
)
def test_the_wheel_has_every_file_that_the_code_reads(wheel, pattern):
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.relative_to(ROOT).match(pattern) and "__pycache__" not in path.parts
    }
    assert expected
    assert expected <= wheel


def test_the_wheel_has_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
