"""Tests of the emulated platform."""
