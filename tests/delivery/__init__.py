"""Tests of outboxes and their destinations."""
