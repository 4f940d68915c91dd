"""Tests of `autostate.objects`."""
