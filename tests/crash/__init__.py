"""Killed processes and injected faults."""
