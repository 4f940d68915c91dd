"""Tests of `autostate.tracking`."""
