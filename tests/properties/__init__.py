"""Hypothesis state machines: autostate against the plain builtins."""
