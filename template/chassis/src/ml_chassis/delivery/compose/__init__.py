"""One host with Docker: what runs in containers there, and releases of images."""
