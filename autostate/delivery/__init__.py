"""Outboxes: what has to be done outside, done after the save that covers it."""
