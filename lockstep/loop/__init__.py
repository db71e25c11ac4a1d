"""One line in a loop: each step is judged as it is taken."""
