"""Prepared clips: decoded once into small files that are fast to read."""
