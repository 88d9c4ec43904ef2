"""Service Key Manager: holds every key sealed, and uses it for others without handing it out."""
