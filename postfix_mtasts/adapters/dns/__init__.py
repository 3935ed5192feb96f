"""DNS.

client      questions asked in full: every server, retries, TCP
probe       TXT questions on the event loop, for records that do not exist
message     questions and answers on the wire, with dnspython
absence     the cheap reading of an answer, without it
transport   which server is asked first, whose AD counts, and one exchange
resolvconf  which servers there are, read again when the file changes
"""
