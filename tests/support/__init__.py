"""What tests share: a broker, settings, clients, workers, records, waiting, a clock, a server."""
