"""Planted errors, other problems, blind spots, both trainings, the exact referee."""
