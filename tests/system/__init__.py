"""Tests of the whole system: six real processes, started by the real command."""
