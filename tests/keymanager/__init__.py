"""Tests of the key manager."""
