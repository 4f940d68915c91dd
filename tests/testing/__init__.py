"""Tests of `autostate.testing`."""
