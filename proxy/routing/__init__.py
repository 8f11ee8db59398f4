"""Where a call may go, in which order, and why: pure functions of the call, its snapshot and a health view."""
