"""Payments: freezes money on accounts. A plain Faust agent that does not import odradek."""
