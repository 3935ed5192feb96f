"""Every exception that postfix-mtasts raises on purpose.

MtaStsError                base; caught at the edge of a thread, a task or a command
├── InputError             malformed input; trying again gives the same result
│   ├── NetstringError     framing is lost: send nothing more, close the connection
│   ├── DomainError        not a policy domain: nothing to look up
│   ├── RecordError        the TXT records give no usable MTA-STS record
│   ├── PolicySyntaxError  a policy body breaks RFC 8461
│   └── ConfigError        the configuration has faults: start nothing
├── UnavailableError       the network failed us: a cached policy stays in force
│   ├── DnsError           no usable DNS answer in time
│   └── FetchError         no usable answer from the policy host
├── StoreError             the store cannot be read or written now
├── StoreBusyError         another process holds the store
└── ListenError            an address cannot be listened on

Any other exception is a bug.
"""

from __future__ import annotations


class MtaStsError(Exception):
    """Base: caught at the edge of a thread, a task or a command."""


class InputError(MtaStsError):
    """Malformed input; trying again gives the same result."""


class NetstringError(InputError):
    """Framing is lost: send nothing more, close the connection."""


class DomainError(InputError):
    """Text that is not a policy domain; there is nothing to look up."""


class RecordError(InputError):
    """The TXT records at _mta-sts give no usable record (RFC 8461 section 3.1)."""


class PolicySyntaxError(InputError):
    """A policy body breaks RFC 8461; reported as sts-policy-invalid.

    *line* counts from 1; 0 stands for the body as a whole.
    """

    def __init__(self, line: int, section: str, problem: str) -> None:
        place = f"line {line}: " if line else ""
        super().__init__(f"{place}{problem} (RFC 8461 section {section})")
        self.line, self.section, self.problem = line, section, problem


class ConfigError(InputError):
    """The configuration has faults, each one line that names place, value and mend."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class UnavailableError(MtaStsError):
    """The network failed us: a cached policy stays in force until max_age."""


class DnsError(UnavailableError):
    """No usable DNS answer: SERVFAIL, REFUSED, a timeout, no server, a broken message."""


class FetchError(UnavailableError):
    """The policy host gave no usable answer.

    *stage* is one of core.outcome.Stage, *result_type* one of
    core.outcome.ResultType (RFC 8460 section 4.3.2).
    """

    def __init__(self, stage: str, result_type: str, reason: str) -> None:
        super().__init__(reason)
        self.stage, self.result_type, self.reason = stage, result_type, reason


class StoreError(MtaStsError):
    """The store cannot be read or written now; memory goes on without it."""


class StoreBusyError(MtaStsError):
    """Another process holds the store's lock."""


class ListenError(MtaStsError):
    """An address cannot be listened on; the message names it and says why."""
