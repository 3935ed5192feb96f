"""TLS reports that others send about our domains: taken in, kept, explained.

Nothing here is imported by the lookup daemon. core/tlsreport.py reads a
report, adapters/mailbox.py unpacks mails, adapters/reportdb.py keeps both.

reading  from bytes to reports, each with its document
intake   what becomes of a mail or a file
summary  sums over stored reports: by result, source, day, MX host, policy, domain
digest   what is new since the last time, as a mail to a person
page     the same as one HTML page
"""
