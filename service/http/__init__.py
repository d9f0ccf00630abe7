"""HTTP apart from the routes: problems, strict JSON, request ids, unread bodies, disconnected clients."""
