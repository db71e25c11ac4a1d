"""Views of one result; none of them computes a number of the run again."""
