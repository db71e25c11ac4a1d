"""What is trained: names, problem, options, files."""
