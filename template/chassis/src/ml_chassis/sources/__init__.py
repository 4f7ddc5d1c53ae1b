"""Services that are asked while a request is answered."""
