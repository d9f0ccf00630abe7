"""`gte-ops mcp`: the toolkit's answers as tools for an assistant (Model Context Protocol)."""
