"""process/memory.py: what large buffers took goes back to the system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HELD = """
from pathlib import Path
from postfix_mtasts.process.memory import give_back
def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
buffers = [bytes(100_000) for _ in range(1_000)]
del buffers[:-1]
before = held()
give_back()
print(before, held())
"""


def test_what_many_buffers_took_goes_back() -> None:
    """100 MB in blocks that malloc would keep, since the last of them is in use."""
    command = [sys.executable, "-c", HELD]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before - after > 50_000_000, done.stdout
