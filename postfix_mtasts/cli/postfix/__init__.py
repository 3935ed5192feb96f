"""What `config check` says of the Postfix on this host.

postconf  reads main.cf and master.cf as Postfix does: facts
groups    services that are set alike, and Misfit, what is said of them
reach     whether they reach an address of ours
check     judges all of it
"""
