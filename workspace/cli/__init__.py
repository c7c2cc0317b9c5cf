"""`lab`: the command line. It speaks HTTP to a server, as any other client does."""
