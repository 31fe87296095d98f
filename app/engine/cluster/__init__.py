"""The engine on many machines: replicas on Ray Serve, each with an engine process of its own (`TROIKA_ENGINE=ray`).

`client` is the service's side, `replica` what runs on the machines, `deployment` puts it there, `router` chooses the
replica for a request. Only these import Ray, which the service can do without.
"""
