"""What only Odradek has, under `/api/odradek/v1`: runs with what the Kafka beneath says of them,
queues, members, the trail of a workflow's records, dead letters, statistics over time, schemas.
Described by OpenAPI, which is made of the same declarations that serve it.

Names of fields are the wire contract's (`task_queue`, `run_id`), times are epoch milliseconds,
as in the records themselves.
"""
