"""Tests of the command line: its parts, and its commands against fakes of the services."""
