"""The policies on disk.

rows      how an entry is written as JSON
disk      a folder with SQLite, by diskcache
signed    how the rows that daemons share are signed and read
valkey    the shared store: a Valkey or Redis server
place     the folder, and the lock that decides who holds it
database  diskcache and SQLite, tamed
salvage   what can be read of a damaged database, without SQLite
"""
