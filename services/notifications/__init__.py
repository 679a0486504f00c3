"""Notifications: reads the results topic and tells customers. Does not import odradek."""
