"""The generated files: those checked in are those that the models make."""

from pathlib import Path

import yaml

from penstock.api import crd_files, kinds
from penstock.api.crd import crd

ROOT = Path(__file__).resolve().parents[3]


def test_the_files_are_what_the_models_make() -> None:
    """When this fails: `make crds`, and commit what it wrote."""
    folders = (*crd_files.MANIFESTS, crd_files.PAGES)
    found = {
        f"{folder}/{path.name}": path.read_text() for folder in folders for path in sorted((ROOT / folder).iterdir())
    }
    found[crd_files.STATES] = (ROOT / crd_files.STATES).read_text()
    assert found == crd_files.generated()


def test_each_kind_has_a_manifest_in_both_folders_and_a_page() -> None:
    files = crd_files.generated()
    for kind in kinds.ALL:
        name = kind.about.crd_name
        assert yaml.safe_load(files[f"crds/{name}.yaml"]) == crd(kind)
        assert files[f"crds/{name}.yaml"] == files[f"charts/penstock/crds/{name}.yaml"]
        assert f"# {kind.about.kind}\n" in files[f"docs/reference/kinds/{kind.about.singular}.md"]


def test_words_that_kubectl_reads_as_booleans_are_quoted() -> None:
    text = crd_files.to_yaml({"y": "n", "on": "yes"})
    assert '"y": "n"' in text
    assert yaml.safe_load(text) == {"y": "n", "on": "yes"}


def test_repeated_structs_are_written_out() -> None:
    part = {"a": 1}
    assert "&" not in crd_files.to_yaml({"one": part, "two": part})


def test_writing_fills_the_folders_and_removes_what_is_left_over(tmp_path: Path) -> None:
    stale = tmp_path / "crds" / "gone.penstock.dev.yaml"
    stale.parent.mkdir()
    stale.write_text("{}")
    changed = crd_files.write(tmp_path)
    assert not stale.exists()
    assert set(changed) == {*crd_files.generated(), "crds/gone.penstock.dev.yaml"}
    assert crd_files.write(tmp_path) == []
