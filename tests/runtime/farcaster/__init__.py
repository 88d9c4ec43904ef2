"""Tests of the actions on Farcaster."""
