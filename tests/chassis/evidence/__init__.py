"""Tests of logs that nobody can change unseen."""
