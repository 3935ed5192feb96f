"""The outside world, one module each: blocking, without decisions.

dns/        DNS: the client, the probe on the loop, resolv.conf
https/      one policy fetched over verified TLS
store/      the policies on disk
acme        certificates, ordered from an ACME server
dnsupdate   records written by dynamic DNS update
reportdb    TLS reports on disk; reportsums: their sums
mailbox     mails, gzip and zip to the documents in them; mailfiles: where the mails are
signatures  DKIM signatures of report mails
collector   a TLSRPT collector's datagram socket
smtp        a mail host as a sender meets it
reach       whether there is a way to an address at all
services    port numbers by name
files       small files that are whole at any moment
clock       the machine's clocks
"""
