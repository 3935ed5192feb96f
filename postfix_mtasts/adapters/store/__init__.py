"""The policies on disk.

rows  how an entry is written as JSON, and what a store can do
disk  a folder with SQLite, by diskcache
"""
