"""What only Odradek has, under `/api/odradek/v1`: runs with what Kafka says of them, queues,
members, the trail of a workflow's records, dead letters, statistics over time, schemas. FastAPI
serves it and describes it as OpenAPI.

Names of fields are the wire contract's (`task_queue`, `run_id`), times are epoch milliseconds.
"""
