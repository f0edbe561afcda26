"""What tests share: recorded traffic, servers that replay it, small helpers."""
