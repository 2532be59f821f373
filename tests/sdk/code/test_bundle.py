"""A flow as bytes: opened in another process, it runs with all that it used, wherever that was defined."""

from __future__ import annotations

import base64
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from penstock import __version__, flow
from penstock.code import bundle
from penstock.code.bundle import Bundle
from penstock.errors import BundleMismatch, CodeUnavailable, DefinitionError
from penstock.settings import temporary_settings

NOTEBOOK = """
import sys
from dataclasses import dataclass
from pydantic import BaseModel
import shop
from cleaning import Order, clean
from penstock import flow, task
from penstock.task_runners import ProcessPoolTaskRunner

FACTOR = 3

class Options(BaseModel):
    n: int = 2

@dataclass
class Row:
    n: int

def helper(n):
    from lazily import more
    return more(n) * FACTOR

@task
def scaled(row: Row) -> int:
    return helper(row.n)

@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def report(options: Options, name: str = "x"):
    from shop import prices
    order = clean(name)
    assert isinstance(order, Order)
    values = scaled.map([Row(n) for n in range(options.n)]).result()
    return {"values": values, "name": order.name, "price": prices.PRICE, "shop": shop.NAME}

from penstock.code import bundle
packed = bundle.pack(report)
sys.stdout.write(packed.text)
"""
RUN = """
import pickle, sys
from pathlib import Path
from penstock.code import bundle
folder = bundle.unpack(Path(sys.argv[1]).read_bytes())
sys.path.insert(0, str(folder / bundle.MODULES))
flow = pickle.loads((folder / bundle.FLOW).read_bytes())
print(flow({"n": 3}, name="Tea"))
import inspect, cleaning
print("def clean" in inspect.getsource(cleaning.clean))
"""
FILES = {
    "cleaning.py": (
        "from dataclasses import dataclass\n\n@dataclass\nclass Order:\n    name: str\n\n"
        "def clean(name):\n    return Order(name.lower())\n"
    ),
    "lazily.py": "def more(n):\n    return n + 1\n",
    "shop/__init__.py": "NAME = 'corner'\n",
    "shop/prices.py": "PRICE = 7\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path) -> Iterator[None]:
    with temporary_settings(code_cache=str(tmp_path / "cache")):
        yield


def at_a_prompt(text: str, project: Path) -> bytes:
    """What a bundle made of the lines of a notebook is: they come from no file."""
    done = subprocess.run(
        [sys.executable, "-"], input=dedent(text), cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return base64.b64decode(done.stdout)


def test_a_flow_of_a_notebook_runs_elsewhere_with_its_local_modules(project: Path, tmp_path: Path) -> None:
    """Also in processes of a task runner; its modules are modules there, with their text."""
    (tmp_path / "packed").write_bytes(at_a_prompt(NOTEBOOK, project))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PENSTOCK_CODE_CACHE": str(tmp_path / "there"), "PENSTOCK_PROGRESS": "off"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "packed")],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values, has_text = done.stdout.splitlines()[-2:]
    assert values == "{'values': [3, 6, 9], 'name': 'tea', 'price': 7, 'shop': 'corner'}"
    assert has_text == "True"


def test_a_bundle_knows_what_made_it() -> None:
    @flow
    def etl() -> None: ...

    packed = bundle.pack(etl)
    assert (packed.python_version, packed.penstock_version) == (platform.python_version(), __version__)
    assert packed.digest.startswith("sha256:")
    assert base64.b64decode(packed.text) == packed.data


def test_what_cannot_leave_the_process_is_named() -> None:
    lock = threading.Lock()

    @flow
    def etl() -> bool:
        return lock.locked()

    with pytest.raises(DefinitionError, match=r"flow 'etl' cannot be bundled: .*make what it uses within the flow"):
        bundle.pack(etl)


MISMATCHES = {
    "the same": (platform.python_version(), __version__, None),
    "another patch of Python": (f"{sys.version_info[0]}.{sys.version_info[1]}.99", __version__, None),
    "another Python": ("3.9.1", __version__, "made with Python 3.9.1 and the image has Python 3"),
    "another SDK": (platform.python_version(), "9.4.0", "made with Penstock 9.4.0 and the image has Penstock"),
    "both": ("3.9", "9.4.0", "Python 3.9 and the image has Python .*; with Penstock 9.4.0 and"),
}


@pytest.mark.parametrize(("python", "penstock", "message"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_bundle_is_opened_by_what_made_it_only(python: str, penstock: str, message: str | None) -> None:
    if message is None:
        bundle.check(python, penstock)
        return
    with pytest.raises(BundleMismatch, match=message) as caught:
        bundle.check(python, penstock)
    assert "deploy it again from Python" in str(caught.value)
    assert "or set an image that has Python" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"no bundle", Bundle(b"x", "", "").data])
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(CodeUnavailable, match=r"spec\.code\.bundle: it cannot be opened"):
        bundle.unpack(data)


def test_a_large_one_is_fetched_and_verified(tmp_path: Path) -> None:
    @flow
    def etl() -> None: ...

    packed = bundle.pack(etl)
    (tmp_path / "etl").write_bytes(packed.data)
    assert bundle.fetch(f"file://{tmp_path}/etl", packed.digest, {}) == packed.data
    with pytest.raises(CodeUnavailable, match=r"spec\.code\.bundle\.url: .* it was replaced"):
        bundle.fetch(f"file://{tmp_path}/etl", "sha256:" + "0" * 64, {})
