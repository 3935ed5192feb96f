"""Postfix's connections.

server       all of them: accept, limits, drain
connection   one of them: frames in, frames out
handler      one request: parse, ask the keeper, make the reply
unread       bounds on what clients do not read
reply_cache  ready replies under whole requests
"""
