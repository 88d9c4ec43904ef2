"""Tests of what is asked on the internet."""
