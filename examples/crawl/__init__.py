"""A crawl that is killed, and goes on: `make demo`."""
