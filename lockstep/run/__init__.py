"""Both sides step by step: the record of a step, the judge, the result."""
