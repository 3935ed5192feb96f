"""YAML to settings: every fault in one go, with its file, line and key.

settings  what can be set, with every default
values    durations, addresses, names: text to value
file      reads a file, checks it, finds its faults
"""
