"""Counter stores behind one protocol: the same behaviour in the memory of one process or shared by many."""
