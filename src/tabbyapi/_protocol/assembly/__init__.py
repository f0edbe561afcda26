"""Assembly of streams: chunks add up to the response of a plain call."""
