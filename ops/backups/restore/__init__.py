"""Restore: plan, stage, exchange, validate, and roll back if validation fails."""
