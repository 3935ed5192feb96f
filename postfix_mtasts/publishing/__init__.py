"""`postfix-mtasts serve`: the policies of one's own domains, published.

serve         the process: start, signals, end
parts         makes the parts and joins them
sockets       where it listens, and what each socket is for
policyfiles   the folder of policies: which files count, and when
publisher     folder and history, as the table of what is served
threads       blocking work for the event loop
webserver     connections of strangers, held within bounds, below aiohttp
host, tls     the policy host: one path, exact bytes, a certificate a name
certificates  ordered by ACME, before they are missed
certfiles     or read from files that somebody else keeps
dnsrecord     the record id in DNS, in step with what is served
intake        TLS reports by HTTPS
bodies        what arrives of them, in bounded memory
reportviews   the reports in the store, for the administrator's port
checks        the published domains, examined once a day
overview      all of it at one moment
admin         the administrator's port: dashboard, metrics, health
dashboard     the page
listing       what `publish list` shows, from what is on disk
"""
