"""Speed, always beside something else measured in the same run. Nothing here is imported by the service."""
