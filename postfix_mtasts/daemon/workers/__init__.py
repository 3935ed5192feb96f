"""The processes that ask DNS and policy hosts.

pool       starts them, hands jobs over, outlives them
fast_path  the lookups that need none of them
worker     the process itself
launching  how it comes to be: forked from one that waits for that, or started afresh
threads    its threads
wire       what both say to each other
slots      which fetch may begin, and which one gives way
turns      begins fetches when it is their turn
"""
