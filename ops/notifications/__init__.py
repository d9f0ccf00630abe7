"""How a message reaches people: what is queued (ledger, store, outbox) and how it is sent (transport, robots)."""
