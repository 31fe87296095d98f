"""What outlives the process: tables, migrations and the database they are in. What rows mean is `app.chat`'s affair."""
