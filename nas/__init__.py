"""The search: what to try next? Strategies, store, service, command line, export."""
