"""Parts of Ray's API that may still change."""
