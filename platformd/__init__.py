"""The emulated platform: a small process that holds the root, measures its callers, and counts."""
