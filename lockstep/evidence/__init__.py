"""Planted errors, other problems, blind spots, the exact referee."""
