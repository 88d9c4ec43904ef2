"""Executes the code of actions, which is hostile until proven otherwise."""
