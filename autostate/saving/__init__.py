"""When to save, one save, and what happens if it fails at the end."""
