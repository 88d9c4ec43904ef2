"""What a run costs its user, and telling a marketplace about it."""
