"""The ends, signals, forks and interrupts of the process."""
