"""The commands: a module for each, and what several of them share."""
