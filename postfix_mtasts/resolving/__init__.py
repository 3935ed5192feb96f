"""Blocking use cases without shared state: daemon, query and warm call the same ones.

discovery  record, policy host, policy
dane       what DNS says of a domain's mail hosts
audit/     all that a domain publishes, examined for `check`
world      DNS client and policy hosts by a configuration, made in one place
tracing    one lookup with all that was seen on the way
"""
