"""Settings of the service, which import nothing of `app`, and gunicorn's, whose hook finds the model before forking."""
