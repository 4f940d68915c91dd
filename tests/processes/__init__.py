"""Several processes and one state, in real processes."""
