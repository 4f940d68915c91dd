"""Ways in which Actors keep their state by hand and lose it, each with the way it goes right."""
