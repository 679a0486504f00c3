"""The engine: pure core of a workflow run. `(state, inputs, now) -> (state', effects)`.

What this room is for: event-sourced runs, their tasks, activities, timers, retries, requests and
verdicts. What it must never do: touch Kafka, a clock, a thread, a file or randomness. It knows
no Python workflow code either: what runs a workflow is behind the port in `activation`. Hosts
(the Kafka lane, the in-memory test environment) hand inputs and time in, and carry effects out.
"""
