"""Tests of the platforms of the key manager."""
