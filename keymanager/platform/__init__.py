"""What the key manager trusts: a platform that measures, seals, quotes and counts."""
