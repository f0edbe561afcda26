"""Python client for TabbyAPI servers, and a local server that speaks the same protocol."""
