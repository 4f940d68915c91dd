"""Who may write a state: programs, names, owners and their locks."""
