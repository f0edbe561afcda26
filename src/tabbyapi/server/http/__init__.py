"""HTTP beneath the routes: connections, request bodies, server-sent events, routing."""
