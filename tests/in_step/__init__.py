"""Crawls in step: state, queue, dataset and charges agree, however the process ends."""
