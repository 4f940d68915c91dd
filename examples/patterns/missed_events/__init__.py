"""One event too few, or one too many."""
