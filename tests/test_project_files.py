"""The files that GitHub, pre-commit and citation tools read."""

import re
from pathlib import Path

import pytest
import yaml
from places import ROOT

from medslip_jax.version import __version__

# A fresh clone has them; the source archive does not.
FILES = [".pre-commit-config.yaml", "CITATION.cff", *(str(f.relative_to(ROOT)) for f in ROOT.glob(".github/**/*.yml"))]


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_all_are_there():
    assert {Path(name).name for name in FILES} >= {"ci.yml", "bug.yml", "feature.yml", "config.yml"}


@pytest.mark.parametrize("name", FILES)
def test_yaml(name):
    assert isinstance(read(name), dict)


def test_the_workflow_runs_what_a_change_has_to_pass_and_nothing_else():
    workflow = read(".github/workflows/ci.yml")
    # YAML 1.1 reads the key `on` as true.
    assert set(workflow[True]) == {"push", "pull_request"}
    [job] = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    assert (ROOT / ".ci" / "run").is_file()
    assert job["runs-on"] == "ubuntu-latest" and job["timeout-minutes"] == 90
    [python] = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert python["python-version"] == "${{ matrix.python }}" and python["cache"] == "pip"
    known = sorted((ROOT / "constraints").glob("python*.txt"))
    assert [f"python{version}" for version in job["strategy"]["matrix"]["python"]] == [file.stem for file in known]
    assert (ROOT / python["cache-dependency-path"]).is_file()


def test_citation():
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation), "what CFF 1.2.0 requires"
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    [paper] = citation["references"]
    assert {"type", "title", "authors"} <= set(paper), "what CFF 1.2.0 requires of a reference"
    assert paper["doi"].endswith("2403.10635") and len(paper["authors"]) == 9
    assert paper["title"].startswith("MeDSLIP: Medical Dual-Stream Language-Image Pre-training")


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms(name):
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids)


def test_a_bug_report_asks_for_the_doctor():
    form = read(".github/ISSUE_TEMPLATE/bug.yml")
    assert any("medslip doctor --json" in field["attributes"].get("label", "") for field in form["body"])


def test_hooks_have_versions():
    repositories = read(".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"]: repository["rev"] for repository in repositories for hook in repository["hooks"]}
    assert set(hooks) == {"ruff-check", "ruff-format", "nbstripout"}
    assert all(re.fullmatch(r"v?\d+\.\d+\.\d+", version) for version in hooks.values())


def test_contributing_names_only_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in ("CHANGELOG.md", "setup.py", ".ci/run", "docs/pods.md", "tests/test_imports.py"):
        assert name in text and (ROOT / name).exists(), name


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{f.name}" for f in ROOT.glob("docs/*.md"))])
def test_pages_link_only_to_what_is_there(page):
    file = ROOT / page
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", file.read_text(encoding="utf-8")):
        assert (file.parent / target).exists(), target
