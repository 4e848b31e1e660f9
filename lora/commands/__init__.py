"""What the command line runs: a module for each command, and what several of them share."""
