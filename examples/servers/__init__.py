"""Servers and machines that count together."""
