"""What is known of every domain.

keeper        the one owner of all of it
held          a policy held, and what this process knows of it
flights       work under way, and who waits for it
schedule      core.entry's time rules applied to what is held
dane          DANE statuses
refresher     the thread that asks for what is due
store_thread  the thread that writes and reads the store
store_changes, store_retry  what it has to write, and when it tries again
reporting     failed fetches, told to a TLSRPT collector
"""
