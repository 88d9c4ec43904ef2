"""Which model is asked, and when: plain decisions over time and dice that are handed in."""
