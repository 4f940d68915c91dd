"""`atomic()`: how blocks end, what they undo, and saves beside them."""
