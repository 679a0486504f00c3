"""Orders: the saga's workflow code, and the service that owns orders (CreateOrder, CancelOrder,
the payment reminder).
"""
