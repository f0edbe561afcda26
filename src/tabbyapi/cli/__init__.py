"""Terminal commands. May import everything; nothing imports it."""
