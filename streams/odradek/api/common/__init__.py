"""See `odradek.api.common.v1`."""
