"""Tests of how a process joins a system."""
