"""Everything that a domain publishes, examined by the code that the daemon uses: `check` and `publish set` call it.

world    what an audit needs of the outside; DNS asked once, each mail host looked at once
gather   asks DNS, policy host and mail hosts, side by side, and decides nothing
judge    what was gathered, as findings: the record, the policy host, the policy, TLSRPT
mail     the same for MX hosts and DANE
outside  the real world: DNS, policy hosts, mail hosts
audit    the stages of one domain in their order, within its deadline
run      one domain, or many side by side, once it is known whether port 25 is blocked here
"""
