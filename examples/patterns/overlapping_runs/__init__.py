"""Runs that overlap push what another one has pushed."""
