"""What is said of a problem: options, files, and the network and data that they describe."""
