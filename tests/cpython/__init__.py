"""CPython's own tests of the containers, run against the persisted ones."""
