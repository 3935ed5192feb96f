"""HTTPS.

fetch     one policy file, within every bound
transfer  a fetch under way: its time, its bytes, and how it is given up
tls       the connection: addresses, certificate
stream    TLS whose every byte on the socket is counted
"""
