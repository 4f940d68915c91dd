"""Tests of `autostate.containers`."""
