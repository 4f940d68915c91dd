"""Tests of `autostate.loops`."""
