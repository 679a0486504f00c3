"""Who may do what: host names, authentication, cross-site requests, read-only mode, response headers.

Everything here is deny by default: a route that a later page adds is protected without saying so.
"""
