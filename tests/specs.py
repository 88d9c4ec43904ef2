"""Where the tests find what others published: specifications and test vectors."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def specs_folder(name: str) -> Path:
    """Return a folder of `shared/specs` beside the checkout, or skip the test without it."""
    for checkout in (ROOT, _main_checkout()):
        folder = checkout.parent / "shared" / "specs" / name
        if folder.is_dir():
            return folder
    pytest.skip(f"there is no ../shared/specs/{name} beside the checkout")


def _main_checkout() -> Path:
    """Return the checkout that a worktree belongs to; it is this one where it is no worktree."""
    git = ("git", "-c", "safe.directory=*", "rev-parse", "--git-common-dir")
    found = subprocess.run(git, cwd=ROOT, check=False, capture_output=True, text=True)
    return (ROOT / found.stdout.strip()).resolve().parent if found.returncode == 0 else ROOT
