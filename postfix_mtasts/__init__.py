"""MTA-STS (RFC 8461) policies for Postfix, as a socketmap daemon."""

__version__ = "0.1.0"
