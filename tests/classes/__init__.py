"""Classes of the program: subclasses, changes, versions."""
