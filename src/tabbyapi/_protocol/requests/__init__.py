"""From arguments to checked request bodies."""
