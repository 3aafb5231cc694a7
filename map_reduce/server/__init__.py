"""A node: wires transport, storage, workers and the runtime together, and finds others."""
