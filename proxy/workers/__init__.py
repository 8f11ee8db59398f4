"""Several processes behind one port: a supervisor that accepts connections, and workers that serve them."""
