"""See `odradek.api.failure.v1`."""
