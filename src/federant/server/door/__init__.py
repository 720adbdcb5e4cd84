"""Who comes in: connections, handshakes, certificates, and how one is refused; no call lives here.

A connection is taken (`accepting`), bounded until it has said what it wants (`request_bounds`), and
known by its certificate (`peers`); each of its requests is let in or not (`admission`).
"""
