"""Pages hang together: links lead somewhere, what is made of the code is as the code."""

import re

import pytest
import yaml

from flows.enforced.settings import EnforceSettings
from flows.settings import Settings
from flows.streams import STREAMS, all_tables
from ops import reference
from tests.pages import PAGES, README, ROOT


def test_the_stages_of_the_workflow_are_make_targets() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    ran = {
        name: [step["run"] for step in job["steps"] if "run" in step]
        for name, job in jobs.items()
    }
    tools = ['.ci/tools "$RUNNER_TEMP/tools"']
    assert ran == {
        name: [*(tools if name in ("test", "slow") else ()), f"make {name}"]
        for name in ("check", "schemas", "audit", "guard", "test", "slow", "image")
    }
    for name in ran:
        assert re.search(rf"^{name}:.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE), (
            name
        )
    # By commits, which nobody can move.
    used = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", each) for each in used)
    pythons = jobs["test"]["strategy"]["matrix"]["python"]
    assert "3.11 or 3.12" in README
    assert pythons == ["3.11", "3.12"]


def test_every_table_is_told_of() -> None:
    for table in all_tables():
        assert f"`{table.name}`" in PAGES["docs/streams.md"]


@pytest.mark.parametrize("name", reference.PAGES)
def test_pages_made_of_the_code_are_as_the_code(name: str) -> None:
    assert reference.PAGES[name]() == (ROOT / name).read_text("utf-8"), "make docs"


def test_no_setting_and_no_metric_is_without_its_meaning() -> None:
    kinds = {Settings, EnforceSettings, *(stream.settings for stream in STREAMS)}
    fields = {name: each for kind in kinds for name, each in kind.model_fields.items()}
    assert [name for name, each in fields.items()
            if not each.description and name != "streams"] == []  # fmt: skip
    assert len(list(reference.every_metric())) > 18
    assert all(each._documentation.endswith(".") for each in reference.every_metric())


LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """Return what a page's headings are linked by, as GitHub makes it of their words."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_leads_somewhere_and_every_page_is_linked() -> None:
    lost, met = [], {"README.md"}
    for page, text in PAGES.items():
        for link in LINK.findall(text):
            if link.startswith("https://"):
                continue
            path, _, anchor = link.partition("#")
            target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
            name = str(target.relative_to(ROOT))
            met.add(name)
            if not target.exists() or (anchor and anchor not in anchors(PAGES[name])):
                lost.append(f"{page}: {link}")
    assert lost == []
    assert PAGES.keys() - met == set()
