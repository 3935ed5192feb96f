"""HTTPS.

fetch     one policy file, within every bound
transfer  a fetch under way: its time, its bytes, and how it is given up
tls       the connection: addresses, certificate
proxy     the way through fetch.proxy; socks5: the same by SOCKS
stream    TLS whose every byte on the socket is counted
"""
