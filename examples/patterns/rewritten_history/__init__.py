"""All is written again for each item."""
