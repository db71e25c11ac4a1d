"""One command with subcommands."""
