"""Settings of the service and of gunicorn. A leaf: imports nothing of `app`."""
