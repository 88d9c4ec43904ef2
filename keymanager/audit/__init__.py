"""What the key manager records of every use; how it is proven is in `chassis/evidence`."""
