"""Programs that show autostate at work."""
