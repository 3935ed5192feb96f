"""The pure core: plain functions over frozen values.

No socket, clock, thread, logger or outside library: time comes in as an
argument, bytes come in as bytes. Everything that decides lives here.
"""
