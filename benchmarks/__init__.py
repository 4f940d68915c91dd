"""Figures beside their goals: `make bench`."""
