"""What the engine is measured against: deployments without batching, as small as such things are."""
