"""The web UI: pages rendered here, live by server-sent events, usable without JavaScript and
quicker with it.

- `routes.py` is the table of contents; `visit.py` is what every handler gets (request, server,
  rendering, errors as pages).
- Handlers (`*_pages.py`) ask the same functions that serve `/api/odradek/v1`, so page and API
  cannot disagree.
- Pure view models: `run_filter` (chips and query box to a query), `event_text`, `event_groups`,
  `timeline`, `plots`, `text`.
- `templates/` are small and composed; `static/` is hand-written CSS and JavaScript modules,
  served as they are.

Must never: put anything on a page that did not go through autoescaping, need an inline script or
a style attribute (the content security policy refuses both), show an action to whom it is
refused, or keep anything that is lost when the process ends and that somebody needs.
"""
