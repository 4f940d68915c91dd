"""Actors: real processes with the real SDK."""
