"""The server: HTTP API, web UI and their read side in one process (`odradek server`).

Duties: Temporal's HTTP API (`temporal`), what only Odradek has (`api`), server-sent events
(`events`), who may do what (`security`), the facts of the Kafka beneath (`kafka`), and one
application that holds them together (`app`, `server`).

Must never: decide anything about a run (its owner does), stand in the path of a workflow, or
wait without a deadline. Importing this package imports no web framework:
`odradek.web.app.create_app`, `odradek.web.server.main`.
"""
