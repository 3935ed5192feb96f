"""What each long-running process of ours has, whatever it does: the daemon, and `serve`.

logs       lines on standard error, written by a thread of their own
systemd    sockets that are passed in, and notices
aside      blocking work in a thread that nobody waits for at the end
signals    handled from the first moment
memory     how much this process takes, and what is free goes back to the system
listeners  sockets bound by address, with mode and group
"""
