"""Answer Postfix over its connections.

server       all connections: accept, limits, drain
connection   one connection: requests in, replies out
handler      one request: parse it, ask the keeper, make the reply
unread       cuts off clients that do not read
reply_cache  finished replies by request
"""
