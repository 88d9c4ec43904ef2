"""What runs inside of the sandbox."""
