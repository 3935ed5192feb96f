"""Cold lookups, mostly of records that do not exist, answered on the loop.

Stands before Jobs and takes the same jobs. The probe asks for the TXT record;
where there is none, that is the answer, for a fiftieth of what a worker
costs. A record goes to the worker with the job, and is not asked for again.
What the probe does not understand, the worker asks in full.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ...adapters.dns.client import DnsClient
from ...adapters.dns.probe import Absence, Probe, Result
from ...config.settings import DnsSettings
from ...resolving.discovery import NAME_LIMIT, absent, record_name
from .pool import Answer, Done, JobRunner

PROBE_SHARE = 5  # the probe may take this part of dns.timeout; then the worker asks


class Prober:
    """A JobRunner that needs *jobs* only where there is a record, or doubt."""

    def __init__(self, jobs: JobRunner, settings: DnsSettings, count_dns: Callable[[str, str, int], None]) -> None:
        self._jobs, self._count_dns = jobs, count_dns
        self._probe: Probe | None = None
        self.configure(settings)

    def configure(self, settings: DnsSettings) -> None:
        """Ask the resolvers of *settings* from now on."""
        client = DnsClient(settings.servers, settings.timeout)
        self.close()
        self._probe = Probe(lambda: client.servers, settings.timeout / PROBE_SHARE)

    def close(self) -> None:
        """What is under way goes the full path."""
        if self._probe is not None:
            self._probe.close()

    def submit(self, job: Answer, done: Done) -> None:
        name = record_name(job["domain"]) if job["job"] == "discover" and job["refetch_as"] is None else ""
        if self._probe is None or not name or len(name) > NAME_LIMIT:
            self._jobs.submit(job, done)
            return

        begun = time.monotonic()

        def probed(found: Result) -> None:
            if isinstance(found, Absence):
                self._count_dns("TXT", "nodata" if found.exists else "nxdomain", 1)
                done({"probed": absent(name, found.exists, found.ttl)})
            elif found is None:
                self._jobs.submit({**job, "spent": time.monotonic() - begun}, done)
            else:
                self._jobs.submit({**job, "record": found.hex()}, done)

        self._probe.absent(name, probed)
