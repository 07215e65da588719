"""The door of the console: users and their passwords, roles, sessions, and who may enter which page."""
