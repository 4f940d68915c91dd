"""Runs overwrite each other's counts."""
