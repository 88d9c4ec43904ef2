"""Tests of the LLM Linker."""
