"""Checkpoints of other projects: reading their files, their names, and where they are published."""
