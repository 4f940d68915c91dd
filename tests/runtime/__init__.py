"""Tests of `autostate.runtime`."""
