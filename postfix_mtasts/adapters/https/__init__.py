"""HTTPS.

fetch  one policy file, within every bound
tls    the connection: addresses, deadline, certificate
"""
