"""The words for what was found and what to do about it, for `check`, `query` and `report` alike.

reports  for the owner of a domain, by the result types of TLS reports (RFC 8460)
owner    for the owner of a domain, by the codes of `check`
advice   the same for single faults
sender   for who sends mail to a domain, by Fault (query --explain)

What failed, as data and as one sentence, is faults.py's.
"""
