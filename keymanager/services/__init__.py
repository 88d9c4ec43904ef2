"""The contracts of the key manager besides the first one, and all of them in front of a vault."""
