"""Tests of the knowledge storage."""
