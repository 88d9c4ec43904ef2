"""The `actionvm` command: a client of the six services like any other, and their supervisor."""
