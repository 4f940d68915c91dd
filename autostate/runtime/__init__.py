"""One store, its state objects by name, and the life of a process with them."""
