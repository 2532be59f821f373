"""A user's own modules are told from installed ones, and followed to all that they import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.code.local_modules import files_of, imported_by, imports
from penstock.errors import DefinitionError

FILES = {
    "cleaning.py": "import json\nimport pydantic\nfrom shop.orders import total\n",
    "shop/__init__.py": "",
    "shop/orders.py": "from . import prices\nfrom .tables.rows import row\n\ndef total():\n    import lazily\n",
    "shop/prices.py": "",
    "shop/tables/__init__.py": "from ..prices import *\n",
    "shop/tables/rows.py": "row = 1\n",
    "shop/unused.py": "",
    "lazily.py": "",
    "unused.py": "",
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_what_a_module_imports_goes_with_it_and_nothing_else() -> None:
    found = files_of(["cleaning"])
    assert sorted(found) == sorted(
        [
            *("cleaning.py", "lazily.py", "shop/__init__.py", "shop/orders.py", "shop/prices.py"),
            *("shop/tables/__init__.py", "shop/tables/rows.py"),
        ]
    )
    assert found["shop/tables/rows.py"] == b"row = 1\n"


def test_a_part_of_a_package_brings_the_packages_around_it() -> None:
    assert sorted(files_of(["shop.tables.rows"])) == [
        *("shop/__init__.py", "shop/prices.py", "shop/tables/__init__.py", "shop/tables/rows.py"),
    ]


def test_installed_ones_stay() -> None:
    """The standard library, site-packages, built-ins, Penstock itself, the main script, and what is not there."""
    assert files_of(["json", "pydantic.main", "sys", "penstock.flows", "__main__", "nowhere", "nowhere.at_all"]) == {}


def test_a_compiled_one_is_refused(project: Path) -> None:
    (project / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    suffix = next(s for s in __import__("importlib.machinery").machinery.EXTENSION_SUFFIXES)
    (project / f"fast{suffix}").write_bytes(b"")
    with pytest.raises(DefinitionError, match=r"module fast .* is compiled .* put it into the image"):
        files_of(["fast"])


def test_what_the_imports_of_a_text_mean() -> None:
    text = b"import a.b, c\nfrom d import e\nfrom . import f\nfrom ..g import h\nfrom i import *\n"
    assert sorted(imports(text, "top.mid", "x.py")) == [
        *("a.b", "c", "d", "d.e", "i", "top.g", "top.g.h", "top.mid", "top.mid.f")
    ]


def test_what_a_function_imports_when_it_is_called() -> None:
    def outer() -> Any:
        def inner() -> Any:
            from shop import orders

            return orders

        import lazily

        return inner, lazily

    assert sorted(imported_by(outer)) == ["lazily", "shop", "shop.orders"]
    assert list(imported_by(print)) == []
