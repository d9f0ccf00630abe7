"""`gte-ops install` and `uninstall`: the steps (pure), the journal and the record, and the engine that applies and
undoes them."""
