"""Tests of the gas system."""
