"""What is trained: its names, shapes, vocabularies, and the problem that a step is one of."""
