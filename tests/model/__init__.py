"""The ownership protocol, explored: all that a few processes can do, in any order."""
