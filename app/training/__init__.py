"""The MNIST pipeline: data, a dense network in Keras's vocabulary, its training, cost, plots and predictions.

`options`, `predictor`, `images`, `plots`, `cost` and `events` are safe for a process that must not import torch;
`python -m app.training` (in `__main__`) is the process that trains. Nothing here knows of HTTP or the database.
"""
