"""What older programs import: batches, and `PolicySpec`."""
