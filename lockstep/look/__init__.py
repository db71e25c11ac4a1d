"""Code as it is: a program runs under a trace, and its quantities are recognised by value."""
