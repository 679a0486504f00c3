"""The shop's HTTP order API: place an order, wait for its outcome or poll, ask its status,
cancel it.
"""
