"""Training runs as jobs of the service: a short queue, one process at a time, records in the database.

What a run does is `app.training`'s affair, what a client sees of it `app.api`'s.
"""
