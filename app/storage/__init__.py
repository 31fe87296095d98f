"""What outlives the process: tables, migrations and the database they are in.

What rows mean is the affair of `app.chat` and `app.jobs`.
"""
