"""Deterministic simulation: all services in one thread, virtual time, seeded faults."""
