"""`postfix-mtasts serve`: the policies of one's own domains, over HTTPS.

serve         builds the parts, handles signals, ends
policyfiles   the folder of policies
publisher     what is served for each domain, decided from folder and history
host          the policy host: one path, exact bytes
webserver     connections of strangers, held within bounds
sockets       where it listens
tls           one certificate a name, chosen by SNI
certificates  certificates ordered before they are missed
certfiles     certificates that somebody else keeps
dnsrecord     the record id in DNS, in step with what is served
listing       each published domain on one line
"""
