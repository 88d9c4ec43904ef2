"""The language models that we ship, and the scripts that write them."""
