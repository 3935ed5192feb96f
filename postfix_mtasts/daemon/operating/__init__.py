"""What an operator sees and steers.

operations      what `cache`, `status` and `query` ask of the daemon
messages, codec  their requests and its answers, as values and on the wire
showing         what is known of a domain, put into messages
control_socket  the socket that they ask over
status          the daemon on one screen
numbers         the one table of what is counted
survey          all policies counted, in turns
metrics, http   Prometheus text at /metrics, /healthz
health          whether loop, refresher and store move
"""
