"""Tests of what the key manager records."""
