"""What roots trust: it measures, seals, quotes and counts."""
