"""DNS.

client      questions asked in full, by dnspython
probe       one question on the event loop, which understands absence only
resolvconf  which servers are asked, read again when the file changes
"""
