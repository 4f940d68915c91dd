"""Code that the type checker reads and nobody runs."""
