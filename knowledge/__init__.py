"""Knowledge Storage: keeps what agents know, and finds it."""
