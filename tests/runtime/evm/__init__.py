"""Tests of the actions on chains of the EVM."""

from __future__ import annotations
