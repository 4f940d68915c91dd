"""Tests of `autostate.cli`."""
