"""Messages to people: the queue (ledger, store, outbox), and sending (worker, bots)."""
