"""Commands as a user's shell runs them, and those that the documents show as tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import warm_programs


def shell(command: str, folder: Path) -> str:
    """Run a command in a folder, with this environment's programs; it must succeed. Returns what it prints."""
    path = os.pathsep.join([str(warm_programs()), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def documented_commands(document: Path) -> list[str]:
    """The command lines of a document's blocks that are marked as tested."""
    blocks = re.findall(r"<!-- tested -->\n```bash\n(.*?)```", document.read_text(), re.DOTALL)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]
