"""May this caller proceed, and is there room?"""
