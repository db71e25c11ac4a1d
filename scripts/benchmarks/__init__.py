"""How long a step takes, and how other checkers compare."""
