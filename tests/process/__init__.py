"""Tests of `autostate.process`."""
