"""The processes that ask DNS and policy hosts.

pool       hands jobs to them, and replaces those that fail
fast_path  answers the lookups that need none of them
process    one of them, as the daemon sees it
launching  how it comes to be: forked, or started afresh
worker     the process itself
threads    its threads
proxy      whether fetches get through fetch.proxy
slots      which fetch may begin, and which one gives way
turns      begins fetches when it is their turn
wire       what both sides say to each other
"""
