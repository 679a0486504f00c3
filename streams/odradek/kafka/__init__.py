"""What hosts and client share of confluent-kafka: client settings, topics, errors, a plain
producer, the schemas topic.

Knows no engine and no workflow. Must never decide what a record means; that is the hosts'
matter. Blocking calls say so: asyncio code runs them in a thread.
"""
