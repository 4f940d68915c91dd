"""Tests of `autostate.stores`."""
