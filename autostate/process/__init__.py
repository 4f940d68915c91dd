"""Ends, signals, forks and interrupts of the process."""
