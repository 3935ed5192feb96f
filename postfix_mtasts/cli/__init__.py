"""The command line.

main       the parser, and the edge where errors become exit codes
commands/  one module a subcommand
client     asks the running daemon
offline    does what the daemon would, where none runs
comparing  what the daemon holds beside what is found afresh
explain    how a traced lookup looks on a terminal
postconf   judges main.cf
tables     tables on a terminal
text       times, and remote text
"""
