"""Tests of the machines of runs."""
