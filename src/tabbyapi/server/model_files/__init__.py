"""Model files: finding, reading and downloading them."""
