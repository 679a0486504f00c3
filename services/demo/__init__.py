"""`make demo`: the order saga on a real broker, with failures on purpose, audited from the
services' own databases.
"""
