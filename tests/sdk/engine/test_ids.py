"""Identities: valid, different, also across forks and threads."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

from penstock.engine.ids import new_id, suffix


def test_an_id_is_a_uuid_that_we_fill() -> None:
    identity = uuid.UUID(new_id())
    assert identity.version == 8
    assert identity.variant == uuid.RFC_4122
    assert str(identity) == str(identity).lower()


def test_ids_differ_in_all_threads() -> None:
    with ThreadPoolExecutor(8) as executor:
        parts = executor.map(lambda _: [new_id() for _ in range(1000)], range(8))
        assert len({identity for part in parts for identity in part}) == 8000


def test_a_forked_child_has_its_own() -> None:
    """Workers are forked: two of them must never count on from the same number."""
    code = (
        "import os\n"
        "from penstock.engine.ids import new_id\n"
        "new_id()\n"
        "child = os.fork()\n"
        "os.write(1, f'{new_id()}\\n'.encode())\n"
        "if child: os.waitpid(child, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = (uuid.UUID(line) for line in done.stdout.split())
    assert first.version == second.version == 8
    assert first.hex[:16] != second.hex[:16]


def test_suffixes_are_letters_that_make_no_words() -> None:
    assert all(re.fullmatch("[bcdfghjklmnpqrstvwxz2456789]{5}", suffix()) for _ in range(200))
    assert len(suffix(9)) == 9
    assert len({suffix() for _ in range(200)}) > 190
