"""What actions are written with."""
