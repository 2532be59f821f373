"""Which flavour is chosen, as far as no Docker engine is needed to tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_cluster import kind
from penstock_cluster.layout import ClusterError, Layout


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A checkout on a machine without kind."""
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    (tmp_path / ".cluster").mkdir()
    return Layout(tmp_path)


def test_without_kind_the_own_node_is_chosen(layout: Layout) -> None:
    """Unless kind was asked for, which is refused with what it needs."""
    assert not kind.chosen(layout, "auto")
    assert not kind.chosen(layout, "own")
    with pytest.raises(ClusterError, match="Docker engine"):
        kind.chosen(layout, "kind")


def test_a_cluster_of_kind_stays_one(layout: Layout) -> None:
    """The own node is not started beside it."""
    (layout.state / "kind").touch()
    assert kind.made(layout)
    assert kind.chosen(layout, "auto")
    with pytest.raises(ClusterError, match="cluster-down first"):
        kind.chosen(layout, "own")


def test_an_own_node_stays_one(layout: Layout) -> None:
    """kind is not started beside it."""
    (layout.state / "parts.json").write_text("[]")
    assert not kind.chosen(layout, "auto")
    with pytest.raises(ClusterError, match="cluster-down first"):
        kind.chosen(layout, "kind")
