"""What is known of every domain.

keeper        answers lookups, and asks for what is not known
finder        finds out what is not known, in one flight for each domain
intake        what an outcome without a policy changes
flights       work under way, and who waits for it
holdings      what is held of every domain: all changes are made here
held          a policy held, and what this process knows of it
known         the read-only view that others have of it
schedule      core.entry's time rules applied to what is held
fleet         what comes from other daemons and goes to them
shared_link   the threads that use the shared store
agenda        when each policy is due
dane          DANE statuses
refresher     the thread that asks for what is due
store_thread  the one thread that uses the store, and what the loop knows of it
store_work    what that thread does
futures       of the loop, ended by what those threads bring
store_changes, store_retry  what it has to write, and when it tries again
announcing    what the log says of domains and their policies
reporting     failed fetches, told to a TLSRPT collector
resolver_check  warns of a resolver that DANE cannot rest on
"""
