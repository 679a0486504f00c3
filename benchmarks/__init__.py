"""`make bench`: figures, never assertions. Real Kafka; prints a table and writes JSON to
`$BENCH_OUT`.
"""
