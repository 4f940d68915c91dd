"""Tests of `autostate.ownership`."""
