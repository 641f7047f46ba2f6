"""PyTorch in Train's second generation."""
