"""The Actors of the examples, and the site that they read."""
