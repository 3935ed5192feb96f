"""What `check` prints.

text     a report for people
formats  the same for programs: JSON lines, Monitoring Plugins, a node_exporter textfile
held     what the local daemon holds
"""
