"""The command line.

main       the parser, and the edge where errors become exit codes
commands/  one module a subcommand
asking     finds who answers for the policies: a daemon, or this process
client     speaks to the running daemon
offline    does what the daemon would, if none runs
comparing  puts what the daemon holds beside what is found afresh
explain    shows a traced lookup on a terminal
postfix/   judges main.cf and master.cf
checking/  prints what `check` found
policywords  says a policy in the words of the command line
reporting  prints what `report` found
policywords reads --mode, --max-age, --mx
windows    reads --since, --until, --before
libraries  tells which libraries are missing
tables     prints tables on a terminal
text       prints times, and remote text
"""
