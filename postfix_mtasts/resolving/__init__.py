"""Blocking use cases without shared state: daemon, query and warm call the same ones."""
