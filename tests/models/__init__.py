"""Tests of the language models that we ship."""
