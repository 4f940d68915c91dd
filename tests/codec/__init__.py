"""Tests of `autostate.codec`."""
