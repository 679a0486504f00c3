"""What operators see of a process: metrics for Prometheus, probes for whoever restarts it, log
lines with ids.

Reads the snapshots that every room gives of itself (`.statistics()`), and only when somebody
asks: a scrape, a probe. Nothing here is called for a record, a transaction or an activity, so
what is off costs nothing, and what is on costs at the scrape.

    catalog.py     every metric: name, kind, unit, labels, meaning; the page of all metrics is printed
    from it sources.py     snapshots -> samples of the catalog's metrics collector.py   samples
    -> Prometheus' families (needs the extra `telemetry`) health.py      snapshots -> live?
    ready? why not? endpoint.py    `/metrics`, `/health/live`, `/health/ready`: one small HTTP
    server a process meter.py       metrics that workflow and activity code records itself
    logs.py        text or JSON lines

Must never: be imported by the engine or a host, hold a rule of workflows, count at replay (hosts
count behind their commits), make a lane, a service or a broker wait for a scrape, or show what
user data holds. Labels are bounded: names come from registrations or stop at a limit, ids are
never labels.
"""
