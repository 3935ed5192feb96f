"""DANE facts about a domain's MX hosts (RFC 7672). (interface; being written)"""
