"""The documentation keeps up with the code: reasons are explained, links lead somewhere."""

import re
from pathlib import Path

import pytest

from penstock.api import reasons

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CONDITION_TYPES = {"Ready", "Scheduling", "Complete", "Resolved", "PodReady", "NodeLost", "Settled"}


def test_every_reason_is_explained() -> None:
    """Whoever meets a reason finds on docs/runs.md what to do about it."""
    page = (ROOT / "docs" / "runs.md").read_text()
    words = {value for name, value in vars(reasons).items() if name.isupper()} - CONDITION_TYPES
    assert {word for word in words if f"`{word}`" not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target or target.startswith("#"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve()
        assert found.exists(), f"{target}: there is no such file"
        if anchor:
            headings = {
                re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
                for heading in re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            }
            assert anchor in headings, f"{target}: the page has no such heading"
