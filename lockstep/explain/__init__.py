"""Which mistake gives these numbers."""
