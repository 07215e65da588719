"""The actuator: what a running process tells and does over HTTP, in any framework, ASGI or WSGI.

Nothing in here imports a web framework, but `herz.actuator.django`, which is imported by name alone.
"""
