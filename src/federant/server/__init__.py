"""The federation's server: the link's other side, durable state, blobs, and workflows."""
