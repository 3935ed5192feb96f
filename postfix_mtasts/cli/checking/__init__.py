"""`check`: one run over many domains, and what it prints.

run      the domains side by side, in the order given, with the local daemon's word
held     what the local daemon holds of a domain
text     a report for people
formats  the same for programs: JSON lines, Monitoring Plugins, a node_exporter textfile
"""
