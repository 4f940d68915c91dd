"""The plugin of pytest, in sessions of its own."""
