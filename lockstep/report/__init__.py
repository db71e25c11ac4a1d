"""Views of one result: the terminal, the JSON document, the trace. None of them computes a number of the run again."""
