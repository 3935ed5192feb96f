"""The outside world, one module each: blocking, without decisions.

dns/       dnspython: the client, the probe on the loop, resolv.conf
https/     requests: one policy fetched over verified TLS
store/     diskcache: rows and the folder they lie in
collector  a TLSRPT collector's datagram socket
services   port numbers by name
"""
