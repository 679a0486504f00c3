"""A processor, its clients and its activity services in one thread, over a Kafka in memory, on a
virtual clock: everything that happens follows from one seed.

Simulated: the whole `Processor` (group, partitions, engine, timers, replies, reports) in several
processes, each of which may be killed, frozen (a zombie) and started again, with its store kept
or wiped; the broker (`odradek.testing.broker`); threads, locks and time, so that every
interleaving at a blocking call may come; faults at each call of a Kafka client (a crash before or
after it, a time-out, an answer that is lost); inputs twice and late; random workflow programs.

Not simulated: librdkafka, RocksDB (`store.py` stands for it, and loses what was not flushed), the
network, replication and compaction, the asyncio side of client and activity host (a client and a
service that speak the wire stand for them), and the watchdog. Those are met by tests/kafka,
tests/facts and tests/chaos.

`python -m tests.simulation --seed N` repeats one seed, `--seeds M` runs that many from it on.
"""
