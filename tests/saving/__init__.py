"""Tests of `autostate.saving`."""
