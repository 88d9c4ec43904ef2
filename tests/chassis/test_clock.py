"""Time zones are those of the IANA database, on every machine the same."""

from __future__ import annotations

import pytest

from chassis.clock import is_time_zone


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "Etc/GMT+5"])
def test_a_zone_of_the_database_is_known(name: str) -> None:
    assert is_time_zone(name)


@pytest.mark.parametrize(
    "name", ["", "localtime", "Mars/Base", "../UTC", "/etc/passwd", "right/UTC", "Europe/Berlin\0"]
)
def test_anything_else_is_no_zone(name: str) -> None:
    assert not is_time_zone(name)
