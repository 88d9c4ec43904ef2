"""What runs inside of the sandbox."""

from __future__ import annotations

# Around the addresses of objects, which the snapshot lists and `immortal.py` reads.
OBJECTS_MARK = b"actionvm: objects of the snapshot"
