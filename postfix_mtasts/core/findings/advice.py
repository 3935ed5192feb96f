"""What the owner of a domain can do about a single fault, where that is better than the advice of its code.

{domain}, {subject}, {name} and {value} are those of the finding (owner.py).
"""

from __future__ import annotations

from ...faults import Fault

ADVICE: dict[Fault, str] = {  # better than the code's own, for one fault
    Fault.RECORD_FIELD: "Write each field as name=value without blanks, separated by ';': "
    'IN TXT "v=STSv1; id=20260101;".',
    Fault.RECORD_FIELD_EMPTY: "Delete one of the two ';' that follow each other.",
    Fault.RECORD_NO_ID: 'Add an id: IN TXT "v=STSv1; id=20260101;".',
    Fault.RECORD_ID: "Choose an id of letters and digits only, 32 at most, such as 20260101T120000.",
    Fault.RECORD_VERSION: 'Write the version exactly as v=STSv1: IN TXT "v=STSv1; id=20260101;".',
    Fault.RECORD_NO_SEMICOLON: 'Put a ";" after v=STSv1: IN TXT "v=STSv1; id=20260101;".',
    Fault.RECORD_QUOTED: "Type the record into the form without quotes and backslashes: v=STSv1; id=20260101;",
    Fault.RECORD_BLANKS: "Write v=STSv1 without blanks before it or inside it.",
    Fault.RECORD_ORDER: "Put v=STSv1 first, then the id.",
    Fault.RECORD_DMARC: "A DMARC record belongs to _dmarc.{domain}; publish here: v=STSv1; id=20260101;",
    Fault.RECORD_TLSRPT: "A TLSRPT record belongs to _smtp._tls.{domain}; publish here: v=STSv1; id=20260101;",
    Fault.TLSRPT_SEVERAL: "Delete all but one of the records at _smtp._tls.{domain}.",
    Fault.TLSRPT_FIELD: "Write each field as name=value, separated by ';'.",
    Fault.TLSRPT_EMPTY_URI: "Delete the comma that nothing stands before or after.",
    Fault.TLSRPT_NOT_URI: "Write a URI with its scheme, mailto:tlsrpt@{domain} or https://host/path, and a "
    "comma in it as %2C.",
    Fault.TLSRPT_SLASHES: "Write mailto: without the two slashes.",
    Fault.TLSRPT_SCHEME: "Use mailto: or https:, which is all that senders know.",
    Fault.TLSRPT_UNESCAPED: "Write %21 for '!', %2C for ',' and %3B for ';' inside a URI.",
    Fault.TLSRPT_VERSION: "Write the version exactly as v=TLSRPTv1.",
    Fault.HTTP_REDIRECT: "Serve the file at https://mta-sts.{domain}/.well-known/mta-sts.txt itself: senders never "
    "follow a redirect.",
    Fault.HTTP_SLASHES: "Have the web server serve /.well-known/mta-sts.txt with one slash, without a redirect.",
    Fault.HTTP_TYPE: "Have the web server send Content-Type: text/plain for mta-sts.txt.",
    Fault.HTTP_NO_TYPE: "Have the web server send Content-Type: text/plain for mta-sts.txt.",
    Fault.HTTP_POLICY_TOO_LONG: "Shorten the policy to 64 KiB at most; wildcards (*.example.com) save lines.",
    Fault.HTTP_LATE: "Make the web server answer within a few seconds; senders give up after a minute.",
    Fault.HTTP_NONE: "Have a web server answer at port 443 of {subject}.",
    Fault.POLICY_STRAY_CR: "End each line with LF or CR LF, not with CR alone.",
    Fault.POLICY_NOT_UTF8: "Save the file as ASCII or UTF-8.",
    Fault.POLICY_NO_COLON: "Write each line as `key: value`.",
    Fault.POLICY_KEY: "Write each line as `key: value`, without comments, quotes or list marks.",
    Fault.POLICY_MISSING: "Add a line `{value}: ...`.",
    Fault.POLICY_VERSION: "Write the first line as `version: STSv1`.",
    Fault.POLICY_MODE: "Write `mode: enforce`, `mode: testing` or `mode: none`, in lower case.",
    Fault.POLICY_MODE_REPORT: "Write `mode: testing`: it is what drafts of RFC 8461 called report.",
    Fault.POLICY_VERSION_STS1: "Write the first line as `version: STSv1`.",
    Fault.POLICY_TRANSLATED: "Write the keys and modes in English, as RFC 8461 has them: version, mode, max_age, mx.",
    Fault.POLICY_MAX_AGE: "Write max_age as seconds in digits, such as `max_age: 1209600`.",
    Fault.POLICY_NO_MX: "Add a line `mx: HOST` for each MX host.",
    Fault.POLICY_UNUSABLE_MX: "Write a host name after mx:, or *. and a host name; one line for each.",
    Fault.POLICY_TOO_LONG: "Shorten the policy to 64 KiB at most; wildcards (*.example.com) save lines.",
    Fault.CERTIFICATE_SELF_SIGNED: "Replace the self-signed certificate of {subject} by one of a public CA for {name}.",
    Fault.CERTIFICATE_CHAIN: "Serve the whole chain at {subject} (fullchain.pem, not cert.pem): the intermediate "
    "certificate is missing.",
    Fault.MAIL_NO_ADDRESS: "Publish an A or AAAA record for {subject}, or delete the MX record that names it.",
    Fault.MAIL_UNTRIED: "Check again; if it stays, have the mail server at {subject} answer faster.",
}
