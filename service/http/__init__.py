"""HTTP beside the routes: problems, strict JSON, request ids, bodies, clients that leave."""
