"""Further spaces."""
