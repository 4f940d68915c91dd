"""What saving costs where containers grow."""
