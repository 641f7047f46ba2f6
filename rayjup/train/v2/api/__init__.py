"""Public modules of Train's second generation."""
