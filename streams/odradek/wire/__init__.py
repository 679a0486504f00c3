"""The wire contract: records, Avro codec, topic names, partitioner, headers. Pure: no Kafka
client, no engine.
"""
