"""Tests of the actions on X."""
