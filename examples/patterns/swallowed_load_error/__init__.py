"""A record that cannot be read is overwritten."""
