"""What is answered over HTTP: one file for what each caller may ask, put together in `app`.

What the calls work with is in `services`, and who may make which in `callers`; who is let in at all
was settled at the door.
"""
