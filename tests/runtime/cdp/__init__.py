"""Tests of the actions on Coinbase CDP."""
