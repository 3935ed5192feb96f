"""What a failure in a TLS report means for the domain's owner, and what to do about it.

Source: RFC 8460 sections 4.3.1 and 4.3.2; the words are for who receives mail.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explained:
    """One result type in words."""

    meaning: str  # one sentence
    advice: str  # one sentence


UNSPECIFIED = "unspecified"  # failures that no detail of the report explains
UNKNOWN = Explained(
    "The sender reports a failure of a kind that RFC 8460 does not name.",
    "Read the report's failure-reason-code, and ask the organization that sent the report.",
)

RESULTS: dict[str, Explained] = {
    "starttls-not-supported": Explained(
        "The mail host did not offer STARTTLS, or something on the way took the offer out.",
        "Switch STARTTLS on at the MX host (smtpd_tls_security_level = may in Postfix) on each of its addresses; where "
        "it is on, look for a firewall that rewrites SMTP.",
    ),
    "certificate-host-mismatch": Explained(
        "The mail host's certificate is for other names than the MX host name.",
        "Get a certificate that names the MX host exactly as the MX record does, or correct the MX record.",
    ),
    "certificate-expired": Explained(
        "The mail host presented a certificate that has expired.",
        "Renew the certificate and reload the mail server, on each address of the MX host; see why the renewal failed.",
    ),
    "certificate-not-trusted": Explained(
        "The sender does not trust who issued the mail host's certificate, or an intermediate certificate is missing.",
        "Use a certificate of a public CA and serve the whole chain (fullchain.pem, not cert.pem).",
    ),
    "validation-failure": Explained(
        "The TLS handshake failed for a reason that has no name of its own.",
        "Read the report's failure-reason-code, and try the MX host with `postfix-mtasts check`.",
    ),
    "tlsa-invalid": Explained(
        "TLSA records exist, but no record matches the certificate that the mail host presented.",
        "Publish the TLSA record of the certificate in use (3 1 1), and publish the next one before you renew.",
    ),
    "dnssec-invalid": Explained(
        "The sender's resolver could not validate the domain's DNS answers.",
        "Check the DNSSEC chain (`delv DOMAIN MX`, DS record at the registrar, signatures that have expired).",
    ),
    "dane-required": Explained(
        "The sender demands DANE for this domain and found no usable TLSA records at a mail host.",
        "Publish TLSA records for every MX host, or ask the sender why it demands DANE.",
    ),
    "sts-policy-fetch-error": Explained(
        "The sender could not fetch the MTA-STS policy.",
        "Run `postfix-mtasts check DOMAIN`: each address of mta-sts.DOMAIN must answer with status 200 and text/plain.",
    ),
    "sts-policy-invalid": Explained(
        "The sender fetched the MTA-STS policy and could not read it.",
        "Run `postfix-mtasts policy lint` on the policy file and correct the line that it names.",
    ),
    "sts-webpki-invalid": Explained(
        "The certificate of the policy host mta-sts.DOMAIN is not valid for the sender.",
        "Renew the certificate of mta-sts.DOMAIN from a public CA, for that name, with its whole chain.",
    ),
    UNSPECIFIED: Explained(
        "The report counts failures but does not say why they failed.",
        "Look at the other results of the same days; if there are none, ask the organization that sent the report.",
    ),
}


def explain_result(result: str) -> Explained:
    """The words for a *result* type as a report has it; any text will do."""
    return RESULTS.get(result, UNKNOWN)
