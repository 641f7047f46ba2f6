"""The modules of Train's second generation, under their paths."""
