"""Objects of `@persisted` classes, and restoring the state after a test."""
