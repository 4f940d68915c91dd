"""The built site, in a real browser; `make docs` runs these tests."""
