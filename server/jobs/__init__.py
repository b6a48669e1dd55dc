"""Work that outlives a request: its queue, its events, its files and who does it."""
