"""The service: what this team owns; the machinery is in ml_chassis."""
