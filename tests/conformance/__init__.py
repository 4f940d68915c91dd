"""Kits that every container and every store runs through."""
