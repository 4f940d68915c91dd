"""Tests of `autostate.apify`."""
