"""Hand-ins of a class: found, judged each in a process of its own, and marked."""
