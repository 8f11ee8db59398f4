"""State behind protocols: the same behaviour whether it is kept in this process or shared by many."""
