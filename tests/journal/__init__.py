"""Tests of `autostate.journal`."""
