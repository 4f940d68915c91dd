"""The page is saved, what was seen is not."""
