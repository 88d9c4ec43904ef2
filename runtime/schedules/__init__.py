"""Starts runs without a person: at times, and for events."""
