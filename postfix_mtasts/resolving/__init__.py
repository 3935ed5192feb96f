"""Blocking use cases without shared state: daemon, query and warm call the same ones.

discovery  record, policy host, policy
dane       what DNS says of a domain's mail hosts
answering  the verdict of what was found
tracing    one lookup with all that was seen on the way
"""
