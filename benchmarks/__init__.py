"""Figures beside the goals of docs/design.md: `make bench`."""
