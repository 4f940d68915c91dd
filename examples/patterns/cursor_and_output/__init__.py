"""The page and the output get out of step."""
