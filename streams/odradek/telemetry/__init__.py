"""What operators see of a process: metrics for Prometheus, and probes for whoever restarts it.

metrics.py declares every metric; hosts count in them. meter.py has those that workflow and
activity code records itself. endpoint.py serves `/metrics`, `/health/live`, `/health/ready`.
"""
