"""HTTP in, HTTP out: schemas, status codes, streams. What happens in between is `app.chat`'s and `app.training`'s."""
