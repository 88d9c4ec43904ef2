"""What a key can do without being seen: pure functions over bytes."""
