"""Replies that are made once, however often they are asked for: a request under a key gets what the first one got.

What a reply is made of, and how it is asked for and sent, is `app.api`'s affair: here it is a list of texts.
"""
