"""Where numbers come from: a function, a file, a recording, paper, the project's own steps."""
