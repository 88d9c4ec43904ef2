"""Texts in pieces."""

from __future__ import annotations

from .splitting import words

__all__ = ["words"]
