"""Tests of the jail around a worker."""
