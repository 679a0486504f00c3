"""Temporal's HTTP API: the JSON mapping of its gRPC service under `/api/v1`, as its own server
serves it.

Paths, parameters, JSON and error bodies are those of its published API; calls that the engine
cannot serve are answered 501. Beyond it there is one query parameter, `taskQueue`, on the calls
that name a workflow: it says which queue is meant when two have the id.
"""
