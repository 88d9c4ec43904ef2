"""Tests of what a key can do."""
