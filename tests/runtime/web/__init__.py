"""Tests of the actions that ask the web."""
