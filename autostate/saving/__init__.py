"""When to save, one save, and the file for changes that could not be saved at the end."""
