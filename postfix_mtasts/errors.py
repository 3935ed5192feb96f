"""Every exception that postfix-mtasts raises on purpose.

MtaStsError                base; caught at the edge of a thread, a task or a command
├── InputError             malformed input; trying again gives the same result
│   ├── NetstringError     framing is lost: send nothing more, close the connection
│   ├── DomainError        not a policy domain: nothing to look up
│   ├── RecordError        the TXT records give no usable MTA-STS record
│   ├── PolicySyntaxError  a policy body breaks RFC 8461
│   ├── ReportError        bytes give no TLS report
│   └── ConfigError        the configuration has faults: start nothing
├── UnavailableError       the network failed us: a cached policy stays in force
│   ├── DnsError           no usable DNS answer in time
│   ├── FetchError         no usable answer from the policy host
│   ├── UpdateError        the name server did not take a dynamic update
│   ├── AcmeError          the ACME server gives no certificate now
│   └── SharedError        the store that daemons share cannot be used now
├── StoreError             the store cannot be read or written now
│   └── StoreDamagedError  it is damaged or was removed, and has to be begun anew
│   └── ForbiddenError     this user may not ask for it
├── LibraryError           a library that a command needs is not installed
├── StoreBusyError         another process holds the store
└── ListenError            an address cannot be listened on

Any other exception is a bug.
"""

from __future__ import annotations

from .faults import Fault, Seen


class MtaStsError(Exception):
    """Base: caught at the edge of a thread, a task or a command."""


class _Seen(MtaStsError):
    """A failure as data; the message is its sentence."""

    def __init__(self, fault: Fault, subject: str = "", value: str = "", line: int = 0) -> None:
        self.seen = Seen(fault, subject, value, line)
        super().__init__(str(self.seen))

    @property
    def reason(self) -> str:
        return str(self)


class InputError(MtaStsError):
    """Malformed input; trying again gives the same result."""


class NetstringError(InputError):
    """Framing is lost: send nothing more, close the connection."""


class DomainError(InputError):
    """Text that is not a policy domain; there is nothing to look up."""


class RecordError(_Seen, InputError):
    """The TXT records at _mta-sts give no usable record (RFC 8461 section 3.1)."""


class PolicySyntaxError(_Seen, InputError):
    """A policy body breaks RFC 8461 section 3.2; reported as sts-policy-invalid."""


class ReportError(InputError):
    """Bytes that give no TLS report (RFC 8460); the message says why, without remote text."""


class ConfigError(InputError):
    """The configuration has faults, each one line that names place, value and mend."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class UnavailableError(MtaStsError):
    """The network failed us: a cached policy stays in force until max_age."""


class DnsError(_Seen, UnavailableError):
    """No usable DNS answer: a failure of every server, a timeout, a broken message.

    The sentence names our resolvers and is for the log; Seen.to_strangers() does not.
    """


class FetchError(_Seen, UnavailableError):
    """The policy host gave no usable answer; *stage* is one of core.outcome.Stage."""

    def __init__(self, stage: str, fault: Fault, subject: str = "", value: str = "") -> None:
        super().__init__(fault, subject, value)
        self.stage, self.result_type = stage, fault.result_type


class UpdateError(UnavailableError):
    """The name server did not take a dynamic update; the message names it and says why."""


class AcmeError(UnavailableError):
    """The ACME server gives no certificate now; *gone*: the order it was about is of no further use."""

    def __init__(self, reason: str, gone: bool = False) -> None:
        super().__init__(reason)
        self.gone = gone


class SharedError(UnavailableError):
    """The store that daemons share cannot be used now; the message holds no credentials."""


class StoreError(MtaStsError):
    """The store cannot be read or written now; memory goes on without it."""


class LibraryError(MtaStsError):
    """A library that only some commands need is not installed; the message says what to install."""


class ForbiddenError(StoreError):
    """This user may not ask the daemon; the message says who may."""


class StoreDamagedError(StoreError):
    """The store is damaged, or was removed or replaced: only Store.renew() helps."""


class StoreBusyError(MtaStsError):
    """Another process holds the store's lock."""


class ListenError(MtaStsError):
    """An address cannot be listened on; the message names it and says why."""
