"""The page: a run to step through, one HTML file."""
