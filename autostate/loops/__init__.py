"""Loops that go on where the last process stopped: `resume`."""
