"""The self-check, `python -m app.doctor`: one line for each thing that this service needs, and what to do about it.

`machine` and `services` need no torch, so the service runs part of them at its start (`at_start`); `model` loads the
model as the engine does.
"""
