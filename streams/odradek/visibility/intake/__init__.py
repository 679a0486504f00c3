"""How records of `executions` come into the store: a Faust app whose table is that topic.

`committed.py` is the transport: Faust's own, reading committed records only, from the store's
positions, a fetch at a time. `driver.py` is the SQLite store driver under its URL scheme,
`table.py` the table whose changelog is its source topic, `app.py` the app with its agent,
`decode.py` records to changes, `security.py` the settings' TLS and SASL for Faust's client.

Why so: `docs/decisions/` (the read side's changelog).
"""
