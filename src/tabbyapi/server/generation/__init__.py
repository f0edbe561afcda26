"""From a checked request to the answer: jobs for the engine, and the choices made of its tokens."""
