"""The services of the extension: each a manager, and thin handlers over it."""
