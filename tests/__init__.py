"""The tests of autostate."""
