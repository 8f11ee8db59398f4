"""`router.conversation`: a stored conversation for clients of the other APIs than Responses."""
