"""Where a node keeps blocks: in memory, on disk, or small in one and large in the other."""
