"""How the options of `build` and `deploy` become the code of a Flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from penstock.cli import cli

FLOW = "import helping_aid\nfrom penstock import flow\n\n@flow\ndef nightly():\n    return helping_aid.VALUE\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "nightly_jobs.py").write_text(FLOW)
    (tmp_path / "flows" / "helping_aid.py").write_text("VALUE = 1\n")
    (tmp_path / "requirements.txt").write_text("# ours\nnumpy>=2  # fast\n\ntea @ https://pypi.example/tea.whl\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(*words: str) -> Any:
    return CliRunner().invoke(cli, ["build", "flows/nightly_jobs.py", *words])


def flow_of(*words: str) -> dict[str, Any]:
    done = build(*words)
    assert done.exit_code == 0, done.output
    spec: dict[str, Any] = next(yaml.safe_load_all(done.output))["spec"]
    return spec


def test_a_repository_and_the_folder_of_the_file_in_it(project: Path) -> None:
    url = "https://git.example/team/flows.git"
    spec = flow_of("--git", url, "--ref", "v1", "--code-secret", "token")
    assert spec["code"] == {"git": {"url": url, "ref": "v1", "path": "flows", "secretRef": {"name": "token"}}}
    assert spec["entrypoint"] == "nightly_jobs:nightly"
    assert flow_of("--git", url, "--code-path", "src")["code"]["git"] == {"url": url, "ref": "HEAD", "path": "src"}


def test_an_archive(project: Path) -> None:
    assert flow_of("--archive", "s3://b/x.zip")["code"] == {"archive": {"url": "s3://b/x.zip", "path": "flows"}}


def test_a_file_from_anywhere_is_delivered_as_its_source(project: Path) -> None:
    done = CliRunner().invoke(cli, ["build", str(project / "flows" / "nightly_jobs.py")])
    assert done.exit_code == 0, done.output
    assert set(next(yaml.safe_load_all(done.output))["spec"]["code"]) == {"source"}


def test_a_bundle(project: Path) -> None:
    bundle = flow_of("--bundle")["code"]["bundle"]
    assert set(bundle) == {"data", "pythonVersion", "penstockVersion"}


def test_requirements_without_their_comments(project: Path) -> None:
    found = flow_of("--requirements", "requirements.txt")
    assert found["requirements"] == ["numpy>=2", "tea @ https://pypi.example/tea.whl"]


def test_a_tab_in_a_requirement_is_a_blank(project: Path) -> None:
    (project / "requirements.txt").write_text("numpy\t>=2\n")
    assert flow_of("--requirements", "requirements.txt")["requirements"] == ["numpy >=2"]


WRONG = {
    "a line that goes on": (["-r", "long.txt"], "goes on in the next line: write it in one"),
    "two forms": (["--bundle", "--git", "https://g/x"], "--bundle and --git: code reaches a run in one way"),
    "a ref of nothing": (["--ref", "main"], "--ref is for --git"),
    "a Secret of nothing": (["--code-secret", "x"], "--code-secret is for --git and --archive"),
    "an option of pip": (["-r", "options.txt"], "'--index-url https://x' is an option"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_told(project: Path, words: list[str], message: str) -> None:
    (project / "options.txt").write_text("--index-url https://x\n")
    (project / "long.txt").write_text("numpy \\\n  >=2\n")
    done = build(*words)
    assert done.exit_code != 0
    assert message in " ".join(f"{done.output} {done.exception}".split())
