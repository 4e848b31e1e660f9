"""Low-rank adapters: their layers, their folders, merging, and what training them takes."""
