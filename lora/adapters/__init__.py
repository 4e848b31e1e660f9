"""Low-rank adapters: their layers, their files, merging, and the memory that training them takes."""
