"""Rewrites imports of nvflare's modules to ours, and names what has no counterpart here.

What is called what is data: table.toml. How it is asked for and shown is the command line's.
"""
