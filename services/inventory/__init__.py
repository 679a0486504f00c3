"""Inventory: reserves stock and gives it back."""
