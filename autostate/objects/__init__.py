"""Objects of `@persisted` classes, and the state put back after a test."""
