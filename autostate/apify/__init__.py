"""The events of Apify, the entry point of an Actor, and records of the Apify SDK."""
