"""One store, its state objects by name, and their life in a process."""
