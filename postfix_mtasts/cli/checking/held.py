"""What the local daemon holds of a domain: by its control socket, else from its store.

The store is read by a process of its own: whoever reads it takes its lock and,
as root, becomes its owner for good, which this command must not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading

from ...config.file import Loaded
from ...core.names import Domain
from ...core.policy import parse_policy
from ...daemon.directory import CONTROL, store_directory
from ...daemon.operating.messages import Show, ShownPolicy
from ...errors import InputError, StoreError
from ...resolving.audit.world import Held
from ..client import ask_daemon

PATIENCE = 2.0  # seconds that the daemon may take
STORE_PATIENCE = 20.0  # seconds for all that a store holds


class LocalDaemon:
    """Asked by any number of threads; once it has not answered, it is asked no more."""

    def __init__(self, loaded: Loaded, config: str | None) -> None:
        self._loaded, self._config = loaded, config
        self._lock = threading.Lock()
        self._stored: dict[str, Held] | None = None
        self._away = False

    def held(self, domain: Domain) -> Held | None:
        """The policy it holds; None where it holds none or cannot be asked."""
        with self._lock:
            if self._away:
                return None
            try:
                if self._stored is None:
                    answers = ask_daemon(self._loaded, Show(domain), PATIENCE)
                    if answers is not None:
                        shown = answers[0] if answers else None
                        return Held(shown.record_id, shown.policy) if isinstance(shown, ShownPolicy) else None
                    self._stored = self._read_store()
                return self._stored.get(domain)
            except (StoreError, OSError, subprocess.SubprocessError):
                self._away = True
                return None

    def _read_store(self) -> dict[str, Held]:
        """All policies of a store that no daemon holds. Raises: StoreError, OSError, SubprocessError."""
        directory = store_directory(self._loaded, make=False)
        if not directory.is_dir() or not any(path.name != CONTROL for path in directory.iterdir()):
            return {}
        words = [sys.executable, "-m", "postfix_mtasts", "cache", "export"]
        words += ["--config", self._config] if self._config is not None else []
        done = subprocess.run(words, capture_output=True, timeout=STORE_PATIENCE, check=False)
        held = {}
        for line in done.stdout.splitlines():
            try:
                row = json.loads(line)
                held[str(row["domain"])] = Held(str(row["record_id"]), parse_policy(row["policy"].encode()).text)
            except (ValueError, KeyError, TypeError, AttributeError, InputError):
                continue
        return held
