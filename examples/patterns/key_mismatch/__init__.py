"""What is saved is not what is looked for."""
