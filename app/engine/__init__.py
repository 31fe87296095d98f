"""Token ids in, token ids out: GPT-2 with continuous batching, in a process of its own.

Knows nothing of HTTP, text or users; imports nothing else of `app`. Only `client`, `messages` and
`model_source` are for the rest of the service: they import no torch.
"""
