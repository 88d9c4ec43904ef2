"""Fakes: each implements a port and passes the same contract suite as the real one."""
