"""The asyncio daemon: owns all state that changes.

build       makes the parts and joins them
current     the settings in force, swapped at a reload
daemon      reload and drain: the process
serving/    connections of Postfix, and their ready replies
policies/   what is known of every domain, and the work that finds out more
workers/    the processes that ask DNS and policy hosts
operating/  what an operator sees and steers
counters, directory, repeating
"""
