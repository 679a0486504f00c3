"""What the server knows of the Kafka beneath: queues with partitions, owners and lag, members,
records decoded, dead letters, schemas.

Reads only committed records, commits nothing, joins no group. The one thing it writes is a dead
letter put back where it came from. Imports no web framework: the command line uses it too.
"""
