"""The use case of `cert check`: judge every certificate of the host."""
