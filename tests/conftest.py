"""What holds for every test run: which tests were left out is its last word.

With TESTS_MUST_ALL_RUN=1 (set by .ci/run) a run that left a test out has
failed. Variables that a daemon would take for its settings are taken away
first: no test knows how this machine's own daemon is set up.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from postfix_mtasts.config import environment

MUST_ALL_RUN = "TESTS_MUST_ALL_RUN"

for name in [name for name in os.environ if name.startswith(environment.PREFIX)]:
    del os.environ[name]

settings.register_profile("mtasts", deadline=None)  # this machine may be busy: no test judges its own time
settings.load_profile("mtasts")

# A shell that runs the tests in the background has them ignore ^C, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _left_out(config: pytest.Config) -> dict[str, int]:
    """How many tests were left out, by reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reasons: dict[str, int] = {}
    if reporter is not None:
        for report in reporter.stats.get("skipped", ()):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            reasons[reason] = reasons.get(reason, 0) + 1
        if deselected := len(reporter.stats.get("deselected", ())):
            reasons["not asked for"] = deselected
    return reasons


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get(MUST_ALL_RUN) == "1" and _left_out(session.config) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if reasons := _left_out(config):
        failed = f"; {MUST_ALL_RUN} is set: failed" if os.environ.get(MUST_ALL_RUN) == "1" else ""
        print("left out: " + "; ".join(f"{count} tests ({why})" for why, count in sorted(reasons.items())) + failed)
