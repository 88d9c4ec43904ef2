"""The packaged price table: public prices with their sources, and prices of our own."""
