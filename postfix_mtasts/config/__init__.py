"""YAML and the environment to settings: every fault in one go, with its place and key.

settings     what can be set, with every default
values       durations, addresses, names: text to value
tree         text to nodes, and what YAML is not taken
environment  which variable stands for which setting
file         reads a file and the environment, checks them, finds their faults
"""
