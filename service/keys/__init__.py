"""API keys: the file that holds their hashes, and the command that makes, lists and revokes them."""
